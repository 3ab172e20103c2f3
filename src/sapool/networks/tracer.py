"""A torch.fx tracer that decides what shapes decide, and keeps whole the modules whose code it can't follow."""

from __future__ import annotations

import inspect
import linecache
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError
from torch.utils._pytree import tree_leaves

from sapool.base.errors import SapoolError
from sapool.layers import is_pool


class UntraceableModelError(SapoolError, ValueError):
    """torch.fx can't follow the model's code; the message says which line."""


class ShapeDecisionError(SapoolError, RuntimeError):
    """A traced network is used at a size for which its code would take another branch."""


def check_decision(value: Any, traced: bool | int, line: str) -> None:
    """Raise unless a condition or number made of shapes is what it was when the network was traced."""
    if isinstance(value, fx.Proxy):  # a loaded graph module is traced once more
        value.tracer.create_proxy("call_function", check_decision, (value, traced, line), {})
        return
    now = type(traced)(value)
    if now != traced:
        raise ShapeDecisionError(
            f"the network was traced at a size where {line} is {traced}, here it is {now}: trace it at this size"
        )


def set_item(x: Any, index: Any, value: Any) -> Any:
    """Do ``x[index] = value`` and return ``x``, so that a graph has an edge for it."""
    if isinstance(x, fx.Proxy):  # a loaded graph module is traced once more
        return x.tracer.create_proxy("call_function", set_item, (x, index, value), {})
    x[index] = value
    return x


class AutogradFunction(nn.Module):
    """A ``torch.autograd.Function`` as a module, so that a graph keeps its own backward."""

    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        """Apply the function to its arguments."""
        return self.function.apply(*args)

    def extra_repr(self) -> str:
        """Name the function."""
        return self.function.__qualname__


class _Proxy(fx.Proxy):
    """A proxy that also knows lengths, whole numbers and assignments to parts."""

    tracer: SiteTracer

    def __len__(self) -> int:
        value = self.tracer.example_value(self.node)
        return super().__len__() if isinstance(value, Tensor) else len(value)

    def __index__(self) -> int:
        return int(self.tracer.decide(self.node, int))

    def __int__(self) -> int:
        return int(self.tracer.decide(self.node, int))

    def __setitem__(self, index: Any, value: Any) -> None:
        done = self.tracer.create_proxy("call_function", set_item, (self, index, value), {})
        self.node = done.node


# What tells about a tensor without looking at its values.
_FACTS = ("shape", "ndim", "device", "dtype", "is_cuda", "size", "dim", "numel", "is_floating_point", "element_size")


class SiteTracer(fx.Tracer):
    """Traces through blocks and stops at layers.

    A layer is what torch.nn or ``sapool.layers`` provides, anything without children, and every normalisation: their
    code branches on ``self.training``, which a trace would freeze. A branch on shapes is decided for the example, and
    the decision is checked whenever the graph runs; one on values, or on the batch size, can't be traced.
    """

    def __init__(self, example: Tensor, whole: Collection[str] = ()) -> None:
        super().__init__()
        self.failed: str | None = None  # the innermost module whose code can't be traced
        self.functions: dict[str, nn.Module] = {}
        self._error: Exception | None = None
        self._whole = frozenset(whole)
        self._examples = (example, torch.cat((example, example)))
        self._known: tuple[dict[fx.Node, Any], ...] = ({}, {})
        self._running = False  # while it is, modules and their weights are the real ones, not proxies

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """Return a node's proxy."""
        return _Proxy(node, self)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Trace a call, or make it while a condition is decided."""
        if self._running:
            return forward(*args, **kwargs)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception as error:  # a model's own code runs here and may raise anything
            if error is not self._error:
                self._error, self.failed = error, self.path_of_module(m)
            raise

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        """Return a proxy of a module's weight, or the weight while a condition is decided."""
        return attr_val if self._running else super().getattr(attr, attr_val, parameter_proxy_cache)

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Decide a condition, if it is about shapes."""
        return bool(self.decide(obj.node, bool) if self._is_fact(obj.node) else super().to_bool(obj))

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """Go through what a module returned, where that is several things (rows of a tensor are not)."""
        value = self.example_value(obj.node)
        if isinstance(value, dict):
            return iter(list(value))
        if isinstance(value, Tensor) or not hasattr(value, "__len__"):
            return super().iter(obj)
        listed = obj if isinstance(value, list | tuple) else self.create_proxy("call_function", list, (obj,), {})
        return (cast(Any, listed)[index] for index in range(len(value)))

    def keys(self, obj: fx.Proxy) -> Any:
        """Return the names in a mapping that a module returned."""
        value = self.example_value(obj.node)
        return list(value) if isinstance(value, dict) else super().keys(obj)

    def decide(self, node: fx.Node, kind: Callable[[Any], Any]) -> Any:
        """Return what ``node`` is for the example, and let the graph check that it stays so.

        Raises:
            TraceError: it depends on values, or on the size of the batch.
        """
        if not self._is_fact(node):
            raise TraceError(f"{kind.__name__} of a tensor's values")
        value, with_two = (kind(self.example_value(node, which)) for which in (0, 1))
        if value != with_two:
            raise TraceError("it depends on the size of the batch")
        line = next((f.line for f in reversed(traceback.extract_stack()) if _is_models(f.filename)), "a condition")
        self.create_node("call_function", check_decision, (node, value, str(line)), {})
        return value

    def _is_fact(self, node: fx.Node) -> bool:
        """Whether ``node`` depends on shapes and constants alone."""
        if node.op == "call_method" and node.target in _FACTS:
            return True
        if node.op == "call_function" and node.target is getattr and node.args[1] in _FACTS:
            return True
        return node.op in ("call_function", "call_method") and all(map(self._is_fact, node.all_input_nodes))

    def example_value(self, node: fx.Node, which: int = 0) -> Any:
        """Return what ``node`` makes of the example (1: of a batch of two); every node is run once."""
        known, needed, stack = self._known[which], set[fx.Node](), [node]
        while stack:  # not recursive: a network may be deeper than Python's stack
            last = stack.pop()
            needed.add(last)
            stack.extend(n for n in last.all_input_nodes if n not in known and n not in needed)
        outermost, self._running = not self._running, True
        try:
            for n in self.graph.nodes:
                if n in needed and n not in known:
                    known[n] = self._run(n, *fx.node.map_arg((n.args, n.kwargs), known.__getitem__), which)
        finally:
            self._running = not outermost
        return known[node]

    def _run(self, node: fx.Node, args: Any, kwargs: Any, which: int) -> Any:
        target: Any = node.target
        if node.op == "placeholder":
            return args[0] if args else self._examples[which]
        if node.op == "get_attr":
            return attrgetter(target)(self.root)
        if node.op == "call_module":
            module = self.functions.get(target) or self.root.get_submodule(target)
            return module(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], target)(*args[1:], **kwargs)
        return target(*args, **kwargs)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether ``m`` stays one node."""
        kinds = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm, torch.jit.ScriptModule)
        childless = next(m.children(), None) is None
        whole = module_qualified_name in self._whole or is_pool(m) or childless or isinstance(m, kinds)
        return whole or super().is_leaf_module(m, module_qualified_name)

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        """Trace ``root`` with its default arguments; autograd functions become modules, held by ``functions``."""
        given = inspect.signature(root.forward).parameters.values()
        # A proxy is not None: an argument that was left out would be taken for one that is there.
        defaults = {p.name: p.default for p in list(given)[1:] if p.default is not p.empty}
        with _recorded_functions(self), _attributes_kept(root):
            graph = super().trace(root, {**defaults, **(concrete_args or {})})
        graph._tracer_cls = fx.Tracer  # what unpickles it: this one wants an example
        return graph


@contextmanager
def _attributes_kept(root: nn.Module) -> Iterator[None]:
    """Take back what the code stored on its modules while it was traced: a cache of proxies would break the model."""
    places = [place for module in root.modules() for place in (module._buffers, vars(module))]  # buffers first
    before = [dict(place) for place in places]
    try:
        yield
    finally:
        for place, kept in zip(places, before, strict=True):
            for name, value in list(place.items()):
                if any(isinstance(leaf, fx.Proxy) for leaf in tree_leaves(value)):
                    del place[name]
                    place.update({name: kept[name]} if name in kept else {})


@contextmanager
def _recorded_functions(tracer: SiteTracer) -> Iterator[None]:
    """Make custom autograd functions nodes: traced through, they would lose their backward."""
    inherited = torch.autograd.Function.__dict__["apply"]

    def apply(function: type[torch.autograd.Function], *args: Any, **kwargs: Any) -> Any:
        proxies = [a for a in (*args, *kwargs.values()) if isinstance(a, fx.Proxy)]
        if not proxies or function.__module__.startswith("torch."):
            return inherited.__get__(None, function)(*args, **kwargs)
        name = f"autograd_functions.{len(tracer.functions)}"
        tracer.functions[name] = AutogradFunction(function)
        return tracer.create_proxy("call_module", name, args, kwargs)

    torch.autograd.Function.apply = classmethod(apply)
    try:
        yield
    finally:
        torch.autograd.Function.apply = inherited


@dataclass(frozen=True)
class Trace:
    """A graph, the autograd functions it calls by name, and the modules kept whole with the reason."""

    graph: fx.Graph
    functions: dict[str, nn.Module]
    opaque: dict[str, str] = field(default_factory=dict)


def trace_graph(model: nn.Module, example: Tensor, whole: Collection[str] = ()) -> Trace:
    """Trace ``model``, in eval mode and without gradients, keeping whole every module whose code can't be traced.

    Args:
        model: the module.
        example: an input (N, C, H, W) to decide conditions on shapes with.
        whole: qualified names of modules to keep whole besides.

    Raises:
        UntraceableModelError: the model's own forward can't be traced, or the modules that can't be hold most of what
            shrinks maps.
    """
    opaque: dict[str, str] = {}
    while True:
        tracer = SiteTracer(example, {*whole, *opaque})
        try:
            return Trace(tracer.trace(model), tracer.functions, opaque)
        except Exception as error:  # a model's own code runs here and may raise anything
            path = tracer.failed
            reason = f"{_last_user_line(error)}: {_one_line(error)}"
            if path is None or path in opaque or holds_most(model, [*opaque, path]):
                raise UntraceableModelError(f"torch.fx can't trace {type(model).__name__}: {reason}") from error
            opaque = {name: why for name, why in opaque.items() if not name.startswith(path + ".")}
            opaque |= dict.fromkeys(_alike(model, path), reason)


def _alike(model: nn.Module, path: str) -> list[str]:
    """Return ``path`` and the modules of the same class that hold nothing that shrinks: they fail alike."""
    kind = type(model.get_submodule(path))
    others = [n for n, m in model.named_modules() if n and type(m) is kind and kind is not nn.Sequential]
    return [path, *(n for n in others if n != path and not strided_modules(model.get_submodule(n)))]


def strided_modules(module: nn.Module) -> list[str]:
    """Return the names of the convolutions and pools in ``module`` that have a stride, itself included."""
    found = []
    for name, layer in module.named_modules():
        kind = str(
            getattr(layer, "original_name", type(layer).__name__)
        )  # a scripted module has its class's name there
        pool = kind.endswith(("Pool2d", "Pool2dSame")) and hasattr(layer, "kernel_size")
        if isinstance(layer, nn.Conv2d) or pool or kind == "Conv2d":
            stride = cast(Any, layer).stride
            if max(stride if isinstance(stride, tuple | list) else (stride,)) > 1:
                found.append(name)
    return found


def holds_most(model: nn.Module, paths: Collection[str]) -> bool:
    """Whether more than half of what has a stride lies in the modules ``paths``."""
    strided = strided_modules(model)
    inside = [name for name in strided if any(name == p or name.startswith(p + ".") or not p for p in paths)]
    return 2 * len(inside) > len(strided) or "" in paths


def _last_user_line(error: Exception) -> str:
    """Name the innermost line of the traced model's own code (not torch's)."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if _is_models(frame.filename):
            source = frame.line or linecache.getline(frame.filename, frame.lineno or 0).strip()
            return f"{frame.filename}:{frame.lineno} ({source})"
    return "its forward"


def _is_models(filename: str) -> bool:
    """Whether a line of code is the traced model's own."""
    return "/torch/" not in filename and not filename.endswith(
        ("sapool/networks/traced.py", "sapool/networks/tracer.py")
    )


def _one_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
