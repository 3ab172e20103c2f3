"""A network traced by torch.fx, with the shape that every node makes."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from sapool.base.errors import SapoolError
from sapool.base.image_size import InputSize as InputSize
from sapool.base.image_size import as_input_size as as_input_size
from sapool.networks.tracer import Trace, UntraceableModelError, trace_graph


class FallbackWarning(UserWarning):
    """torch.fx can't follow some of a network's code; the message says what is done instead."""


class InputSizeError(SapoolError, ValueError):
    """The model can't take this input size; the message says where it fails."""


@dataclass(frozen=True)
class TracedModel:
    """A graph over the model's own modules, and the shape of every node that makes one tensor.

    Attributes:
        module: the graph.
        shapes: (N, C, H, W) or less by node name.
        opaque: modules that stay one node because their code can't be traced, with the reason.
        recorded: the model itself where nothing of it could be traced: the graph then only lists the layers that ran.
    """

    module: fx.GraphModule
    shapes: dict[str, tuple[int, ...]]
    opaque: dict[str, str] = field(default_factory=dict)
    recorded: nn.Module | None = None


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


def trace(model: nn.Module, input_size: InputSize, whole: Collection[str] = ()) -> TracedModel:
    """Trace ``model`` and run it once in eval mode at ``input_size``, recording the shapes.

    A module whose code branches on values, or otherwise defeats torch.fx, stays one node; a :class:`FallbackWarning`
    names it.

    Args:
        model: any module that maps (N, C, H, W) to something; its modules are shared with the result, not copied.
        input_size: an int (square, 3 channels) or (C, H, W).
        whole: qualified names of modules that are to stay one node.

    Returns:
        The traced model.

    Raises:
        UntraceableModelError: the model's own forward can't be traced, or modules that hold most of what shrinks maps.
        InputSizeError: the model fails at this size.
        ValueError: it is no module, or takes something else than one tensor.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    size = as_input_size(input_size)
    if isinstance(model, fx.GraphModule):
        copied = fx.GraphModule(model, _copied(model.graph), model.__class__.__name__)
        return TracedModel(copied, run_shapes(copied, size))
    example = example_input(model, size)
    with evaluating(model):
        traced = trace_graph(model, example, whole)
    _check_input(traced.graph, type(model).__name__)
    module = _with_graph(model, traced)
    shapes, output = _run(module, size)
    _check_output(model, example, output)
    if traced.opaque:
        warn_of_opaque(traced.opaque)
    return TracedModel(module, shapes, traced.opaque)


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
