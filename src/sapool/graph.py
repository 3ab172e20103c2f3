"""A network traced by torch.fx, with the shape that every node makes."""

from __future__ import annotations

import linecache
import operator as python_operator
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

InputSize = int | tuple[int, int, int]


class UntraceableModelError(ValueError):
    """torch.fx can't follow the model's code; the message says which line."""


class InputSizeError(ValueError):
    """The model can't take this input size; the message says where it fails."""


class ShapeDecisionError(RuntimeError):
    """A traced network is used at a size for which its code would take another branch."""


def check_decision(value: Any, traced: Any, line: str) -> None:
    """Raise unless a condition on shapes is what it was when the network was traced."""
    if value != traced:
        raise ShapeDecisionError(
            f"the network was traced at a size where {line} is {traced}, here it is {value}: trace it at this size"
        )


# What tells about a tensor without looking at its values.
_FACTS = ("shape", "ndim", "device", "dtype", "is_cuda", "size", "dim", "numel", "is_floating_point", "element_size")


class SiteTracer(fx.Tracer):
    """Traces through blocks and stops at layers.

    A layer is what torch.nn or ``sapool.layers`` provides, anything without children, and every normalisation: their
    code branches on ``self.training``, which a trace would freeze. A branch on shapes is decided for the example, and
    the decision is checked whenever the graph runs; one on values can't be traced.
    """

    def __init__(self, example: Tensor) -> None:
        super().__init__()
        self._example = example
        self._known: dict[fx.Node, Any] = {}
        self._running = False  # while it is, modules and their weights are the real ones, not proxies

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Trace a call, or make it while a condition is decided."""
        return forward(*args, **kwargs) if self._running else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        """Return a proxy of a module's weight, or the weight while a condition is decided."""
        return attr_val if self._running else super().getattr(attr, attr_val, parameter_proxy_cache)

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Decide a condition, if it is about shapes."""
        if not self._is_fact(obj.node):
            return super().to_bool(obj)
        self._running = True
        try:
            decided = bool(self._value(obj.node))
        finally:
            self._running = False
        line = next((f.line for f in reversed(traceback.extract_stack()) if _is_models(f.filename)), "a condition")
        self.create_node("call_function", check_decision, (obj.node, decided, str(line)), {})
        return decided

    def _is_fact(self, node: fx.Node) -> bool:
        """Whether ``node`` depends on shapes and constants alone."""
        if node.op == "call_method" and node.target in _FACTS:
            return True
        if node.op == "call_function" and node.target is getattr and node.args[1] in _FACTS:
            return True
        return node.op in ("call_function", "call_method") and all(map(self._is_fact, node.all_input_nodes))

    def _value(self, node: fx.Node) -> Any:
        """Run what ``node`` needs on the example; every node once."""
        if node not in self._known:
            args = fx.node.map_arg(node.args, self._value)
            kwargs = fx.node.map_arg(node.kwargs, self._value)
            self._known[node] = self._run(node, args, kwargs)
        return self._known[node]

    def _run(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        target: Any = node.target
        if node.op == "placeholder":
            return args[0] if args else self._example
        if node.op == "get_attr":
            return python_operator.attrgetter(target)(self.root)
        if node.op == "call_module":
            return self.root.get_submodule(target)(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], target)(*args[1:], **kwargs)
        return target(*args, **kwargs)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether ``m`` stays one node."""
        norms = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)
        ours = type(m).__module__.startswith("sapool.layers")
        childless = next(m.children(), None) is None
        return ours or childless or isinstance(m, norms) or super().is_leaf_module(m, module_qualified_name)


@dataclass(frozen=True)
class TracedModel:
    """A graph over the model's own modules, and the shape of every node that makes one tensor."""

    module: fx.GraphModule
    shapes: dict[str, tuple[int, ...]]


def as_input_size(input_size: InputSize) -> tuple[int, int, int]:
    """Return (C, H, W) of an int (square, 3 channels) or a triple.

    Raises:
        ValueError: anything else, or a value under 1.
    """
    size = (3, input_size, input_size) if isinstance(input_size, int) else tuple(input_size)
    if len(size) != 3 or not all(isinstance(n, int) and n >= 1 for n in size):
        raise ValueError(f"input_size must be an int or (channels, height, width), each at least 1, got {input_size!r}")
    return size[0], size[1], size[2]


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


def example_input(model: nn.Module, input_size: InputSize, batch: int = 1) -> Tensor:
    """Return random images (batch, C, H, W) on the model's device and in its dtype, the same at every call."""
    first = next(model.parameters(), torch.empty(0))
    images = torch.rand(batch, *as_input_size(input_size), generator=torch.Generator().manual_seed(0))
    return images.to(first.device, first.dtype)


def trace(model: nn.Module, input_size: InputSize) -> TracedModel:
    """Trace ``model`` and run it once in eval mode at ``input_size``, recording the shapes.

    Args:
        model: any module that maps (N, C, H, W) to something; its modules are shared with the result, not copied.
        input_size: an int (square, 3 channels) or (C, H, W).

    Returns:
        The traced model.

    Raises:
        UntraceableModelError: the model's code branches on values, or otherwise defeats torch.fx.
        InputSizeError: the model fails at this size.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    size = as_input_size(input_size)
    with evaluating(model):
        example = example_input(model, size)
        graph_module = _symbolic_trace(model, example)
    return TracedModel(graph_module, run_shapes(graph_module, size))


def run_shapes(module: fx.GraphModule, input_size: InputSize) -> dict[str, tuple[int, ...]]:
    """Run ``module`` once in eval mode and return the shape that every node makes, by name.

    Raises:
        InputSizeError: it fails at this size; the message says where.
    """
    with evaluating(module):
        recorder = _ShapeRecorder(module, as_input_size(input_size))
        recorder.run(example_input(module, input_size))
    return recorder.shapes


def _symbolic_trace(model: nn.Module, example: Tensor) -> fx.GraphModule:
    if isinstance(model, fx.GraphModule):
        return fx.GraphModule(model, _copied(model.graph), model.__class__.__name__)
    try:
        graph = SiteTracer(example).trace(model)
    except Exception as error:  # a model's own code runs here and may raise anything
        raise UntraceableModelError(
            f"torch.fx can't trace {type(model).__name__}: {_last_user_line(error)}: {_one_line(error)}. "
            "Rewrite that line without a branch on a tensor's values"
        ) from error
    module = fx.GraphModule(model, graph, type(model).__name__)
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


def _last_user_line(error: Exception) -> str:
    """Name the innermost line of the traced model's own code (not torch's)."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if _is_models(frame.filename):
            source = frame.line or linecache.getline(frame.filename, frame.lineno or 0).strip()
            return f"{frame.filename}:{frame.lineno} ({source})"
    return "its forward"


def _is_models(filename: str) -> bool:
    """Whether a line of code is the traced model's own."""
    return "/torch/" not in filename and not filename.endswith("sapool/graph.py")


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
