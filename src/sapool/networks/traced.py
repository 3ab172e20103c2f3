"""A network traced by torch.fx, with the shape that every node makes."""

from __future__ import annotations

import copy
import operator
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from sapool.base.errors import SapoolError
from sapool.base.image_size import InputSize as InputSize
from sapool.base.image_size import as_input_size as as_input_size
from sapool.networks.flow import Flow
from sapool.networks.tracer import Trace, UntraceableModelError, trace_graph


class FallbackWarning(UserWarning):
    """torch.fx can't follow some of a network's code; the message says what is done instead."""


class InputSizeError(SapoolError, ValueError):
    """The model can't take this input size; the message says where it fails."""


@dataclass(frozen=True)
class TracedModel:
    """A graph over the model's own modules, and the shape of every node that makes one tensor.

    Wherever a network is planned or predicted its trace may be given instead, so that it is traced once a size. It
    holds as long as nothing but the values of the network's weights changes.

    Attributes:
        model: the network that was traced.
        input_size: (C, H, W) of the image it was traced with.
        module: the graph.
        shapes: (N, C, H, W) or less by node name.
        opaque: modules that stay one node because their code can't be traced, with the reason.
        untraceable: why nothing of the model could be traced, if so: the graph then only lists the layers that ran.
        by_size: the same network's traces at the sizes that were asked for, this one among them.
    """

    model: nn.Module
    input_size: tuple[int, int, int]
    module: fx.GraphModule
    shapes: dict[str, tuple[int, ...]]
    opaque: dict[str, str] = field(default_factory=dict)
    untraceable: str = ""
    by_size: dict[tuple[int, int, int], TracedModel] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.by_size[self.input_size] = self

    @cached_property
    def flow(self) -> Flow:
        """Which way tensors take through the graph as it was traced."""
        return Flow(self.module.graph)

    def copied(self, *, share_modules: bool = False) -> TracedModel:
        """Return a trace whose graph may be changed, over a copy of the network, or over its very modules."""
        if share_modules:
            model, kind = self.model, self.module.__class__.__name__
            module = fx.GraphModule(self.module, _copied(self.module.graph), kind)
        else:
            model, module = copy.deepcopy((self.model, self.module))
        pairs = zip(self.module.graph.nodes, module.graph.nodes, strict=True)
        shapes = {new.name: self.shapes[old.name] for old, new in pairs if old.name in self.shapes}
        return replace(self, model=model, module=module, shapes=shapes, by_size={})


Network = nn.Module | TracedModel


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module into eval mode without gradients, and back to the mode it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def run_once(model: nn.Module, input_size: InputSize) -> Any:
    """Run ``model`` on one random image in eval mode and return its output.

    Raises:
        InputSizeError: it fails at this size.
    """
    size = as_input_size(input_size)
    with evaluating(model):
        try:
            return model(example_input(model, size))
        except Exception as error:  # a model's own code runs here and may raise anything
            line = str(error).strip().split("\n")[0]
            raise InputSizeError(f"the model can't take an input of {size} (C, H, W): {line}") from error


def example_input(model: nn.Module, input_size: InputSize, batch: int = 1) -> Tensor:
    """Return random images (batch, C, H, W) on the model's device and in its dtype, the same at every call."""
    first = next(model.parameters(), torch.empty(0))
    images = torch.rand(batch, *as_input_size(input_size), generator=torch.Generator().manual_seed(0))
    return images.to(first.device, first.dtype)


def trace(model: Network, input_size: InputSize, whole: Collection[str] = ()) -> TracedModel:
    """Trace ``model`` and run it once in eval mode at ``input_size``, recording the shapes.

    A module whose code branches on values, or otherwise defeats torch.fx, stays one node; a :class:`FallbackWarning`
    names it.

    Args:
        model: any module that maps (N, C, H, W) to something; its modules are shared with the result, not copied. Of
            a traced one its trace at this size is returned, and made only where there is none yet.
        input_size: an int (square, 3 channels) or (C, H, W).
        whole: qualified names of modules that are to stay one node.

    Returns:
        The traced model.

    Raises:
        UntraceableModelError: the model's own forward can't be traced, or modules that hold most of what shrinks maps.
        InputSizeError: the model fails at this size.
        ValueError: it is no module, or takes something else than one tensor.
    """
    size = as_input_size(input_size)
    if isinstance(model, TracedModel):
        known = None if whole else model.by_size.get(size)
        if known is not None and known.untraceable:
            raise UntraceableModelError(known.untraceable)
        return known or _also_at(model, trace(model.model, size, whole), whole)
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError(
            f"{model.original_name} is scripted, and a scripted network's code can't be read or changed: give the "
            "network as it was before torch.jit"
        )
    if isinstance(model, fx.GraphModule):
        copied = fx.GraphModule(model, _copied(model.graph), model.__class__.__name__)
        return TracedModel(model, size, copied, run_shapes(copied, size))
    return _trace(model, size, whole)


def _also_at(traced: TracedModel, other: TracedModel, whole: Collection[str]) -> TracedModel:
    """Let ``traced`` know its network's trace at another size; one that keeps modules whole is another trace."""
    return other if whole else replace(other, by_size=traced.by_size)


def _trace(model: nn.Module, size: tuple[int, int, int], whole: Collection[str]) -> TracedModel:
    example = example_input(model, size)
    with evaluating(model):
        traced = trace_graph(model, example, whole)
    _check_input(traced.graph, type(model).__name__)
    module = _with_graph(model, traced)
    shapes, output = _run(module, size)
    _check_output(model, example, output)
    if traced.opaque:
        warn_of_opaque(traced.opaque)
    return TracedModel(model, size, module, shapes, traced.opaque)


def warn_of_opaque(opaque: dict[str, str]) -> None:
    """Say in one line which modules stay one piece, and why."""
    (first, reason), count = next(iter(opaque.items())), len(opaque)
    more = f" and {count - 1} more" if count > 1 else ""
    warnings.warn(
        f"torch.fx can't trace {first}{more}: {reason}; each runs as one piece, and what shrinks maps inside can't be "
        "re-planned",
        FallbackWarning,
        stacklevel=3,
    )


def _check_output(model: nn.Module, example: Tensor, traced: Any) -> None:
    """Refuse a trace that took another way than the code does: it may ask for the type of what it is given."""

    def differ(ours: Any, theirs: Any) -> bool:
        pairs = zip(tree_leaves(ours), tree_leaves(theirs), strict=False)
        tensors = [(a, b) for a, b in pairs if isinstance(a, Tensor) and isinstance(b, Tensor)]
        return any(a.shape != b.shape or not torch.allclose(a, b, 1e-3, 1e-4, equal_nan=True) for a, b in tensors)

    with evaluating(model):
        output = model(example)
        if differ(traced, output) and not differ(model(example), output):  # random ones differ from themselves
            raise UntraceableModelError(
                f"torch.fx can't trace {type(model).__name__}: the graph computes something else than the code"
            )


def _check_input(graph: fx.Graph, name: str) -> None:
    """Refuse a network that takes a mapping, or several tensors."""
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    needed = [node for node in inputs if not node.args and not str(node.target).startswith("*")]
    keys = [user.args[1] for user in (inputs[0].users if inputs else ()) if user.target is operator.getitem]
    names = [key for key in keys if isinstance(key, str)]
    if names or len(needed) > 1:
        takes = f"a mapping with {names[0]!r}" if names else " and ".join(str(node.target) for node in needed)
        raise ValueError(
            f"{name} takes {takes}, and only networks of one tensor (N, C, H, W) can be planned: wrap it in a module "
            "whose forward takes that tensor and fills in the rest"
        )


def run_shapes(module: fx.GraphModule, input_size: InputSize) -> dict[str, tuple[int, ...]]:
    """Run ``module`` once in eval mode and return the shape that every node makes, by name.

    Raises:
        InputSizeError: it fails at this size; the message says where.
    """
    return _run(module, as_input_size(input_size))[0]


def _run(module: fx.GraphModule, size: tuple[int, int, int]) -> tuple[dict[str, tuple[int, ...]], Any]:
    with evaluating(module):
        recorder = _ShapeRecorder(module, size)
        output = recorder.run(example_input(module, size))
    return recorder.shapes, output


def _with_graph(model: nn.Module, traced: Trace) -> fx.GraphModule:
    """Make a module of a graph, with the modules it calls; ``model`` stays as it is."""
    holder = "autograd_functions"
    if traced.functions:
        model.add_module(holder, nn.ModuleList(traced.functions.values()))
    try:
        module = fx.GraphModule(model, traced.graph, type(model).__name__)
    finally:
        model._modules.pop(holder, None)
    _revive_dropout(module)
    return module


_DROPOUTS: dict[Any, type[nn.Module]] = {
    F.dropout: nn.Dropout,
    F.dropout2d: nn.Dropout2d,
    F.alpha_dropout: nn.AlphaDropout,
}


def _revive_dropout(module: fx.GraphModule) -> None:
    """Put a module where the trace, made in eval mode, froze a functional dropout to "off"."""
    frozen = [node for node in module.graph.nodes if node.target in _DROPOUTS and node.kwargs.get("training") is False]
    for index, node in enumerate(frozen):
        probability = node.kwargs.get("p", node.args[1] if len(node.args) > 1 else 0.5)
        name = f"dropouts.{index}"
        module.add_submodule(name, _DROPOUTS[node.target](probability))
        with module.graph.inserting_before(node):
            live = module.graph.call_module(name, (node.all_input_nodes[0],))
        node.replace_all_uses_with(live)
        module.graph.erase_node(node)
    module.recompile()


def _copied(graph: fx.Graph) -> fx.Graph:
    new = fx.Graph()
    new.output(new.graph_copy(graph, {}))
    return new


def _one_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")


class _ShapeRecorder(fx.Interpreter):
    """Runs a graph and keeps each node's output shape."""

    def __init__(self, module: fx.GraphModule, size: tuple[int, int, int]) -> None:
        super().__init__(module)
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._size = size
        self.extra_traceback = False

    def run_node(self, n: fx.Node) -> Any:
        try:
            result = super().run_node(n)
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
            where = n.target if n.op == "call_module" else n.name
            raise InputSizeError(
                f"the model can't take an input of {self._size} (C, H, W): {where} fails with: {_one_line(error)}"
            ) from error
        if isinstance(result, Tensor):
            self.shapes[n.name] = tuple(result.shape)
        return result
