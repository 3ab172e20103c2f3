"""Operators and tensors of a network as the converter would write them, gathered one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.tflite import BYTES_OF, Constant, Graph, Operator, Options, Quantization, Tensor
from sapool.tflite.options import OptionValue

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
    options: dict[str, OptionValue] = field(default_factory=dict)
    module: str = ""


class Builder:
    """Gathers a :class:`~sapool.tflite.Graph`, whose constants have sizes but no numbers of sense."""

    def __init__(self, fold_padding: bool = True) -> None:
        self.fold_padding = fold_padding
        self.tensors: list[Tensor] = []
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
        self.tensors.append(Tensor(self.module, held, dtype, _PLAIN))
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
        """Add a constant, or find the one that has the same ``shared`` key; returns its place.

        Args:
            shape: as the runtime holds it.
            dtype: of its values.
            channels: how many scales it has.
            shared: what makes it the same constant as another.
            numbers: the whole numbers it holds, where they are known.
            zeros: rows and columns of zeros at the end of a kernel: they reach no pixel.
        """
        if shared is not None and shared in self._shared:
            return self._shared[shared]
        made = Constant(partial(_numbers, numbers) if numbers else partial(_ones, shape, dtype, zeros))
        quantization = Quantization((1.0,) * channels, (0,) * channels, _axis(shape)) if channels else None
        self.tensors.append(Tensor(f"{self.module}.constant", shape, dtype, quantization, made))
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
        if all(self.tensors[e.place if isinstance(e, Value) else e].constant is not None for e in inputs):
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
            if self.tensors[value.place].constant is not None:
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

    def splice(self, part: Graph, inputs: Sequence[Value], shape: Shape) -> Value:
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

    def finish(self, outputs: Sequence[Value]) -> Graph:
        """Return what was gathered, without what nothing needs."""
        wanted = self.prune([value.place for value in outputs])
        places = {old: new for new, old in enumerate(sorted({*self.inputs, *wanted} - {-1}))}
        places[-1] = -1
        operators = tuple(
            Operator(
                draft.kind,
                tuple(places[i] for i in draft.inputs),
                tuple(places[i] for i in draft.outputs),
                Options.of(draft.kind, **draft.options),
                module=draft.module,
            )
            for draft in self.operators
        )
        tensors = (self.tensors[old] for old in places if old >= 0)
        return Graph(tensors, operators, (places[i] for i in self.inputs), (places[v.place] for v in outputs))


# A computed tensor's scale is one among others until the network is calibrated.
_PLAIN = Quantization((1.0,), (0,))


def _axis(shape: Shape) -> int:
    return len(shape) - 1 if shape[:1] == (1,) else 0


def as_file(graph: Graph) -> Graph:
    """Return a copy of what :meth:`Builder.finish` gave as if it had been exported: what rewrites files takes it.

    Names end with the tensor's place (``stem.0;12``). Every constant has a scale of its own: as its numbers are not
    known, nothing may take it for another. Whole numbers that are known, as a shape's, have no scale.
    """
    tensors = (_as_stored(tensor, place) for place, tensor in enumerate(graph.tensors))
    return Graph(tensors, graph.operators, graph.inputs, graph.outputs)


def _as_stored(tensor: Tensor, place: int) -> Tensor:
    quantization = tensor.quantization
    if tensor.constant is not None and quantization is not None:
        quantization = replace(quantization, scales=(2.0 + place,) * tensor.channels)
    return replace(tensor, name=f"{tensor.name};{place}", quantization=quantization)


def _numbers(numbers: Sequence[int]) -> NDArray[np.int32]:
    return np.array(numbers, np.int32)


def _ones(shape: Shape, dtype: str, zeros: tuple[int, int]) -> NDArray[np.uint8]:
    """Return bytes of the size of a constant; ``zeros`` as :meth:`Builder.constant` has it."""
    sides = (*shape, BYTES_OF[dtype])
    made = np.ones(sides, np.uint8)
    if max(zeros) > 0:  # a kernel: (out, rows, columns, in)
        rows, columns = (side - count for side, count in zip(shape[1:3], zeros, strict=True))
        made[:, rows:] = 0
        made[:, :, columns:] = 0
    return made


def _channel_last(shape: Shape) -> Shape:
    batch, channels, rows, columns = shape
    return (batch, rows, columns, channels)
