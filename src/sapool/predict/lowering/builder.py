"""Operators and tensors of a network as the converter would write them, gathered one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sapool.memory import ArenaGraph, ArenaOperator, ArenaTensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Value:
    """A tensor that a traced node makes: where it is among the builder's tensors, and its shape in PyTorch's order.

    ``last`` says that it is a map (N, C, H, W) which the runtime holds channel-last.
    """

    place: int
    shape: Shape
    last: bool = False


@dataclass
class Draft:
    """An operator that may still be fused with its neighbours."""

    kind: str
    inputs: list[int]
    outputs: list[int]
    options: dict[str, Any] = field(default_factory=dict)
    module: str = ""


class Builder:
    """Gathers an :class:`~sapool.memory.ArenaGraph`."""

    def __init__(self, fold_padding: bool = True) -> None:
        self.fold_padding = fold_padding
        self.tensors: list[ArenaTensor] = []
        self.operators: list[Draft] = []
        self.module = ""
        self.inputs: list[int] = []
        self._transposed: dict[tuple[int, bool], Value] = {}
        self._shared: dict[Any, int] = {}
        self._made: dict[Any, Value] = {}

    def add_input(self, shape: Shape) -> Value:
        """Add an input of the network; a map comes channel-last."""
        value = self._value(shape, len(shape) == 4)
        self.inputs.append(value.place)
        return value

    def _value(self, shape: Shape, last: bool, dtype: str = "int8") -> Value:
        held = _channel_last(shape) if last else shape
        self.tensors.append(ArenaTensor(self.module, held, dtype))
        return Value(len(self.tensors) - 1, shape, last)

    def constant(
        self,
        shape: Shape,
        dtype: str = "int8",
        channels: int = 1,
        shared: Any = None,
        numbers: Sequence[int] = (),
        zeros: tuple[int, int] = (0, 0),
    ) -> int:
        """Add a constant, or find the one that has the same ``shared`` key; returns its place."""
        if shared is not None and shared in self._shared:
            return self._shared[shared]
        name = f"{self.module}.constant"
        made = ArenaTensor(name, shape, dtype, True, channels=channels, numbers=tuple(numbers), zeros=zeros)
        self.tensors.append(made)
        if shared is not None:
            self._shared[shared] = len(self.tensors) - 1
        return len(self.tensors) - 1

    def numbers(self, numbers: Sequence[int]) -> int:
        """Return the place of a constant of whole numbers: an axis, a shape, a padding."""
        return self.constant((len(numbers),), "int32", 0, shared=("numbers", *numbers), numbers=numbers)

    def emit(
        self,
        kind: str,
        inputs: Sequence[Value | int],
        shape: Shape,
        last: bool,
        dtype: str = "int8",
        **options: Any,
    ) -> Value:
        """Add an operator with one output of ``shape`` (PyTorch's order); what constants alone make is one, too."""
        if all(self.tensors[e.place if isinstance(e, Value) else e].constant for e in inputs):
            return Value(self.constant(_channel_last(shape) if last else shape), shape, last)
        places = [entry.place if isinstance(entry, Value) else entry for entry in inputs]
        key = (kind, *places, shape, last, dtype, *sorted(options.items()))
        if key not in self._made:  # the same operator on the same tensors is made once
            self._made[key] = self._value(shape, last, dtype)
            self.operators.append(Draft(kind, places, [self._made[key].place], options, self.module))
        return self._made[key]

    def as_last(self, value: Value) -> Value:
        """Return a map (N, C, H, W) channel-last, transposed if it is not."""
        if value.last or len(value.shape) != 4:
            return value
        return self._turn(value, last=True)

    def as_first(self, value: Value) -> Value:
        """Return a value as PyTorch lays it out."""
        return self._turn(value, last=False) if value.last else value

    def _turn(self, value: Value, last: bool) -> Value:
        known = self._transposed.get((value.place, last))
        if known is None:
            _, channels, rows, columns = value.shape
            if self.tensors[value.place].constant:
                transposed = _channel_last(value.shape) if last else value.shape
                known = Value(self.constant(transposed, shared=("transposed", value.place, last)), value.shape, last)
            elif channels == 1 or rows * columns == 1:
                held = _channel_last(value.shape) if last else value.shape
                known = self.emit("RESHAPE", (value, self.numbers(held)), value.shape, last)
            else:
                order = (0, 2, 3, 1) if last else (0, 3, 1, 2)
                known = self.emit("TRANSPOSE", (value, self.numbers(order)), value.shape, last)
            self._transposed[value.place, last] = known
            self._transposed[known.place, not last] = value
        return known

    def splice(self, part: ArenaGraph, inputs: Sequence[Value], shape: Shape) -> Value:
        """Add a whole graph whose inputs and output are maps, channel-last."""
        places: dict[int, int] = dict(zip(part.inputs, (self.as_last(value).place for value in inputs), strict=True))
        for index, tensor in enumerate(part.tensors):
            if index not in places:
                places[index] = len(self.tensors)
                self.tensors.append(tensor)
        places[-1] = -1
        for op in part.operators:
            outputs = [places[i] for i in op.outputs]
            module = ".".join(name for name in (self.module, op.module) if name)
            self.operators.append(Draft(op.kind, [places[i] for i in op.inputs], outputs, dict(op.options), module))
        return Value(places[part.outputs[0]], shape, last=True)

    def prune(self, outputs: Sequence[int]) -> set[int]:
        """Drop the operators that no output needs; returns the places of the tensors that are left."""
        wanted, kept = set(outputs), list[Draft]()
        for draft in reversed(self.operators):
            if wanted.intersection(draft.outputs):
                kept.append(draft)
                wanted.update(draft.inputs, draft.outputs)
        self.operators = kept[::-1]
        return wanted

    def finish(self, outputs: Sequence[Value]) -> ArenaGraph:
        """Return what was gathered, without what nothing needs."""
        wanted = self.prune([value.place for value in outputs])
        places = {old: new for new, old in enumerate(sorted({*self.inputs, *wanted} - {-1}))}
        places[-1] = -1
        operators = tuple(
            ArenaOperator(
                draft.kind,
                tuple(places[i] for i in draft.inputs),
                tuple(places[i] for i in draft.outputs),
                draft.options,
                draft.module,
            )
            for draft in self.operators
        )
        tensors = tuple(self.tensors[old] for old in places if old >= 0)
        return ArenaGraph(
            tensors, operators, tuple(places[i] for i in self.inputs), tuple(places[v.place] for v in outputs)
        )


def _channel_last(shape: Shape) -> Shape:
    batch, channels, rows, columns = shape
    return (batch, rows, columns, channels)
