"""From a traced network to the operators that the converter would write, without converting."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.fx._symbolic_trace import PH

from sapool.base.errors import SapoolError
from sapool.base.quoting import one_line
from sapool.layers import is_pool
from sapool.networks.operators import with_step
from sapool.networks.tracer import SiteTracer, check_decision
from sapool.predict.lowering import convolution as conv
from sapool.predict.lowering import shapes as sh
from sapool.predict.lowering.builder import Builder, Shape, Value
from sapool.predict.lowering.fusing import fuse
from sapool.predict.lowering.rules import ALIASES, CALLS, MODULES
from sapool.tflite import Graph

Deploy = Callable[[nn.Module, Tensor], nn.Module]


class UnpredictableError(SapoolError, ValueError):
    """What an operation makes can't be told from shapes alone; the message names the operation."""


@dataclass(frozen=True)
class Changes:
    """What a plan changes in a traced network, without touching it.

    Attributes:
        strides: convolution -> its new stride and the zeros (rows, columns) below and to the right that go with it.
        steps: strided slice -> its new step.
        gone: operators that are left out.
        instead: operators -> the pool that stands in their place.
        behind: node -> pools behind it, each with the users that see it (None: all).
    """

    strides: dict[fx.Node, tuple[int, tuple[int, int]]] = field(default_factory=dict)
    steps: dict[fx.Node, int] = field(default_factory=dict)
    gone: set[fx.Node] = field(default_factory=set)
    instead: dict[fx.Node, nn.Module] = field(default_factory=dict)
    behind: dict[fx.Node, list[tuple[str, nn.Module, Collection[fx.Node] | None]]] = field(default_factory=dict)


def lower(
    traced: fx.GraphModule,
    size: tuple[int, int, int],
    deploy: Deploy | None = None,
    memo: dict[Any, Any] | None = None,
    changes: Changes | None = None,
    fold_padding: bool = True,
) -> Graph:
    """Lower a traced network.

    Args:
        traced: of :func:`sapool.networks.traced.trace`, over the network's own modules.
        size: (C, H, W) of the one image.
        deploy: turns a pooling layer, given an example of its map, into the form it is exported in; None: as it is.
        memo: remembers pooling layers from call to call, by configuration and map.
        changes: what a plan changes.
        fold_padding: whether strided padding goes into the kernel, see :mod:`sapool.tflite.padding`.

    Returns:
        The operators and tensors that the converter would write.
    """
    b = Builder(fold_padding)
    walk = _Walk(b, traced, deploy, {} if memo is None else memo, changes or Changes())
    result = walk.run(b.add_input((1, *size)))
    outputs = _values(result)
    # Scores leave as PyTorch lays them out.
    outputs = [b.as_first(value) if len(value.shape) != 4 else value for value in outputs]
    fuse(b, [value.place for value in outputs])
    return b.finish(outputs)


def _values(result: Any) -> list[Value]:
    if isinstance(result, Value):
        return [result]
    parts = result.values() if isinstance(result, Mapping) else result
    return [value for part in parts for value in _values(part)]


class _Walk:
    """Goes through a graph node by node, with values in the place of tensors."""

    def __init__(
        self,
        b: Builder,
        traced: fx.GraphModule,
        deploy: Deploy | None,
        memo: dict[Any, Any],
        changes: Changes | None = None,
    ) -> None:
        self.b, self.traced, self.deploy, self.memo = b, traced, deploy, memo
        self.changes = changes or Changes()
        self.known: dict[fx.Node, Any] = {}
        self.seen_by: dict[tuple[fx.Node, fx.Node], Any] = {}

    def run(self, *inputs: Any) -> Any:
        given = iter(inputs)
        for node in self.traced.graph.nodes:
            if node.op == "placeholder":
                self.known[node] = next(given, node.args[0] if node.args else None)
            elif node.op == "output":
                return self._arguments(node)[0][0]
            else:
                self.known[node] = self._node(node)
            for name, pool, users in self.changes.behind.get(node, ()):
                self._pool_behind(node, name, pool, users)
        raise AssertionError("a graph ends with its output")

    def _arguments(self, node: fx.Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if not self.seen_by:
            return fx.node.map_arg((node.args, node.kwargs), self.known.__getitem__)
        return fx.node.map_arg((node.args, node.kwargs), lambda n: self.seen_by.get((node, n), self.known[n]))

    def _pool_behind(self, node: fx.Node, name: str, pool: nn.Module, users: Collection[fx.Node] | None) -> None:
        self.b.module, outer = name, self.b.module
        made = self._module(pool, self.known[node])
        self.b.module = outer
        if users is None:
            self.known[node] = made
        else:
            self.seen_by.update({(user, node): made for user in users})

    def _node(self, node: fx.Node) -> Any:
        args, kwargs = self._arguments(node)
        if node in self.changes.gone:
            return args[0]
        if node.op == "get_attr":
            return self._constant(operator.attrgetter(str(node.target))(self.traced))
        outer = self.b.module
        if node.op == "call_module":
            self.b.module = f"{outer}.{node.target}" if outer else str(node.target)
            try:
                return self._leaf(node, *args, **kwargs)
            finally:
                self.b.module = outer
        if node in self.changes.instead:
            return self._module(self.changes.instead[node], args[0])
        if node in self.changes.steps:
            step = self.changes.steps[node]
            args = (args[0], tuple(with_step(part, step) for part in args[1]))
        return self._call(node.target, args, dict(kwargs))

    def _leaf(self, node: fx.Node, *args: Any, **kwargs: Any) -> Any:
        module = self.changes.instead.get(node) or self.traced.get_submodule(str(node.target))
        if node not in self.changes.strides or not isinstance(module, nn.Conv2d):
            return self._module(module, *args, **kwargs)
        stride, extra = self.changes.strides[node]
        x = conv.emit_pad(self.b, args[0], (0, 0), extra) if max(extra) > 0 else args[0]
        return conv.lower_conv(self.b, module, x, (stride, stride))

    def _constant(self, held: Any) -> Any:
        if not isinstance(held, Tensor):
            return held
        shape = tuple(held.shape)
        return Value(self.b.constant(shape, shared=("attribute", id(held))), shape)

    def _call(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if target is check_decision:
            check_decision(*args)
            return None
        if not any(isinstance(value, Value) for value in _flat((args, kwargs))):
            return getattr(args[0], target)(*args[1:], **kwargs) if isinstance(target, str) else target(*args, **kwargs)
        name = target if isinstance(target, str) else getattr(target, "__name__", "")
        if name in ("size", "dim", "getattr", "numel", "ndim"):
            return _fact(name, args)
        name = name.strip("_") if name.startswith("__") else ALIASES.get(name, name)
        kwargs.pop("inplace", None)
        rule = CALLS.get(name)
        return self._unknown(name, target, args, kwargs) if rule is None else rule(self.b, *args, **kwargs)

    def _unknown(self, name: str, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Take an operation without a rule as one operator, whose outputs have the right size."""
        as_meta = partial(fx.node.map_aggregate, fn=lambda v: sh.meta(v) if isinstance(v, Value) else v)
        run = getattr(torch.Tensor, target) if isinstance(target, str) else target
        try:
            made = run(*as_meta(args), **as_meta(kwargs))
        except NotImplementedError as error:  # torch's word for an operation that needs numbers, not only shapes
            raise UnpredictableError(f"{name}: its shapes need the numbers ({one_line(str(error), 200)})") from error
        inputs = [self.b.as_first(value) for value in _flat((args, kwargs)) if isinstance(value, Value)]
        if isinstance(made, Tensor):
            return self.b.emit(name.upper(), inputs, tuple(made.shape), last=False)
        if not isinstance(made, tuple | list) or not any(isinstance(part, Tensor) for part in made):
            return made
        return tuple(
            self.b.emit(name.upper(), inputs, tuple(part.shape), last=False) if isinstance(part, Tensor) else part
            for part in made
        )

    def _module(self, module: nn.Module, x: Any, *args: Any, **kwargs: Any) -> Any:
        for kind in type(module).__mro__:
            if kind in MODULES:
                made = MODULES[kind](self.b, module, x)
                return self._children_behind(module, kind, made)
        if is_pool(module) and self.deploy is not None:
            return self._pool(module, x)
        return self._inside(module, x, *args, **kwargs)

    def _children_behind(self, module: nn.Module, kind: type[nn.Module], made: Any) -> Any:
        """Norms of model zoos hold their activation (and dropout) as children: they run behind."""
        if kind is nn.modules.batchnorm._BatchNorm:
            for child in module.children():
                made = self._module(child, made)
        return made

    def _inside(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Trace into a module that has no rule of its own."""
        if isinstance(module, nn.DataParallel):
            return self._module(module.module, *args, **kwargs)
        if isinstance(module, torch.jit.ScriptModule):
            name = self.b.module or "the network"
            raise UnpredictableError(f"{name} is scripted: its code can't be read, give it as it was before")
        given = inspect.signature(module.forward).bind(*args, **kwargs)
        given.apply_defaults()
        plain = {name: PH if _flat_values(value) else value for name, value in given.arguments.items()}
        key = (module, _first_shape(args), repr(plain))
        if key not in self.memo:
            try:
                tracer = _InnerTracer(_example(module, key[1]))
                with torch.no_grad():
                    self.memo[key] = fx.GraphModule(module, tracer.trace(module, plain))
            except RuntimeError as error:  # numbers that the layer makes, in an operation with what has only a shape
                if "device meta" not in str(error):
                    raise
                name = type(module).__name__
                raise UnpredictableError(
                    f"{name}: its shapes need the numbers ({one_line(str(error), 200)})"
                ) from error
        return _Walk(self.b, self.memo[key], None, self.memo).run(*given.arguments.values())

    def _pool(self, module: nn.Module, x: Value) -> Value:
        """Lower a pooling layer in the form in which it is exported; the same one on the same map only once."""
        key = (repr(module), x.shape)
        if key not in self.memo:
            assert self.deploy is not None
            part = Builder()
            with torch.no_grad():
                deployed = self.deploy(module, sh.meta(x))
            made = _Walk(part, fx.symbolic_trace(nn.Identity()), None, self.memo)._inside(
                deployed, part.add_input(x.shape)
            )
            made = part.as_last(made)
            fuse(part, [made.place])
            self.memo[key] = (part.finish([made]), made.shape)
        return self.b.splice(self.memo[key][0], (x,), self.memo[key][1])


class _ExampleProxy(fx.Proxy):
    """A tensor whose shape, type and device are those of the example."""

    dtype, device = torch.float32, torch.device("cpu")

    @property
    def shape(self) -> Any:
        """Its shape; of what is no tensor, whatever it is called there."""
        value = cast(SiteTracer, self.tracer).example_value(self.node)
        return value.shape

    def is_contiguous(self) -> bool:
        """What a layer does only with a contiguous map is for speed on a CPU, and not exported."""
        return False


class _InnerTracer(SiteTracer):
    """Stops at torch's own layers only, and takes the example's shapes for granted."""

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """Return a node's proxy."""
        return _ExampleProxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether ``m`` stays one node."""
        return any(kind in MODULES for kind in type(m).__mro__)

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Decide a condition as the example does: memory layouts and types are what they are in an export."""
        return bool(self.example_value(obj.node))


def _example(module: nn.Module, shape: Shape) -> Tensor:
    """Return zeros of a shape, on the device of the module's own numbers."""
    own = next(module.parameters(), next(module.buffers(), torch.empty(0)))
    return torch.zeros(shape, device=own.device)


def _first_shape(args: tuple[Any, ...]) -> Shape:
    return next((value.shape for value in args if isinstance(value, Value)), ())


def _fact(name: str, args: tuple[Any, ...]) -> Any:
    x = args[0]
    if name == "getattr":
        known = {"shape": x.shape, "ndim": len(x.shape), "dtype": torch.float32, "device": torch.device("cpu")}
        return known.get(args[1], False)
    if name == "size":
        return x.shape[args[1]] if len(args) > 1 else x.shape
    return len(x.shape) if name in ("dim", "ndim") else int(torch.Size(x.shape).numel())


def _flat_values(nested: Any) -> list[Value]:
    return [leaf for leaf in _flat(nested) if isinstance(leaf, Value)]


def _flat(nested: Any) -> list[Any]:
    found: list[Any] = []
    fx.node.map_aggregate(nested, lambda leaf: found.append(leaf))
    return found
