"""RESHAPEs around operators that work on the last axis alone.

A matrix product with one right-hand matrix, a soft-max over the last axis or a sigmoid do the same to (1, 16, 16, E) as
to (256, E): how the rows are grouped is nothing to them. So between RESHAPEs that only regroup rows they run on the
outer grouping just as well, and the RESHAPEs go.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sapool.tflite.edit import FileGraph, elements

# Each value alone; TFLM's kernels of these take any shape.
_POINTWISE = frozenset({"LOGISTIC", "TANH", "RELU", "RELU6", "HARD_SWISH", "QUANTIZE", "DEQUANTIZE"})


def drop_row_reshapes(graph: FileGraph) -> int:
    """Find RESHAPEs that only regroup rows, and run what is between on the grouping outside; returns how many went."""
    for op in graph.of_kind("RESHAPE"):
        source, made = graph.shape(int(op.inputs[0])), graph.shape(int(op.outputs[0]))
        if len(source) < 2 or len(made) < 2 or source[-1] != made[-1]:
            continue
        region = _Region(graph, source[:-1], made[:-1])
        if region.grow(int(op.outputs[0])) and region.gain > 0:
            region.regroup()
            return region.gain
    return 0


@dataclass
class _Region:
    """Tensors whose rows are grouped as ``inner`` and could be as ``outer``, joined by operators on the last axis."""

    graph: FileGraph
    outer: tuple[int, ...]
    inner: tuple[int, ...]
    tensors: list[int] = field(default_factory=list)
    entries: list[Any] = field(default_factory=list)
    exits: list[Any] = field(default_factory=list)

    @property
    def gain(self) -> int:
        """How many RESHAPEs fall away."""
        return len(self.entries) + len(self.exits)

    def grow(self, seed: int) -> bool:
        """Collect every tensor that must be regrouped with ``seed``; returns whether all of them can be."""
        waiting = [seed]
        while waiting:
            tensor = waiting.pop()
            if tensor in self.tensors:
                continue
            joined = self._joined(tensor)
            if joined is None:
                return False
            self.tensors.append(tensor)
            waiting += joined
        return True

    def _joined(self, tensor: int) -> list[int] | None:
        """Return the tensors that are regrouped with this one; None where it must stay as it is."""
        if tensor in self.graph.results or self.graph.shape(tensor)[:-1] != self.inner:
            return None
        place = self.graph.makers.get(tensor)
        if place is None:
            return None
        joined = self._through_maker(place)
        for reader in self.graph.readers.get(tensor, []):
            through = self._through_reader(reader, tensor)
            if joined is None or through is None:
                return None
            joined += through
        return joined

    def _through_maker(self, place: int) -> list[int] | None:
        op = self.graph.graph.operators[place]
        if self.graph.kinds[place] == "RESHAPE":
            width = self.graph.shape(int(op.outputs[0]))[-1]
            alike = self.graph.same_values(int(op.inputs[0]), int(op.outputs[0]))
            if alike and self.graph.shape(int(op.inputs[0])) == (*self.outer, width):
                self.entries.append(op)
            return []
        return self._rows_of(place)

    def _through_reader(self, place: int, tensor: int) -> list[int] | None:
        op = self.graph.graph.operators[place]
        if self.graph.kinds[place] == "RESHAPE":  # the same bytes, whatever the shape it reads
            alike = self.graph.same_values(tensor, int(op.outputs[0])) and int(op.outputs[0]) not in self.graph.results
            if alike and self.graph.shape(int(op.outputs[0])) == (*self.outer, self.graph.shape(tensor)[-1]):
                self.exits.append(op)
            return []
        rows = self._rows_of(place)
        others = [int(t) for t in op.inputs if int(t) == tensor]
        if rows is None or len(others) != sum(t == tensor for t in rows):
            return None  # it is also the matrix of a product
        return [*rows, int(op.outputs[0])]

    def _rows_of(self, place: int) -> list[int] | None:
        """Return the inputs of an operator whose rows it maps one by one; None for any other operator."""
        op, kind = self.graph.graph.operators[place], self.graph.kinds[place]
        inputs = [int(t) for t in op.inputs]
        if kind in _POINTWISE or kind == "SOFTMAX":
            return inputs
        if kind == "BATCH_MATMUL":
            matrix = self.graph.shape(inputs[1])
            fits = not op.builtinOptions.adjX and elements(matrix[:-2]) == 1 and len(matrix) <= len(self.outer) + 1
            return inputs[:1] if fits and len(self.outer) < 5 else None
        if kind == "CONCATENATION":
            axis, rank = int(op.builtinOptions.axis), len(self.inner) + 1
            return inputs if axis in (-1, rank - 1) else None
        return None

    def regroup(self) -> None:
        """Give every tensor the outer grouping and remove the RESHAPEs at the edges that then change nothing."""
        for tensor in self.tensors:
            shape = [*self.outer, self.graph.shape(tensor)[-1]]
            self.graph.graph.tensors[tensor].shape = shape
            self.graph.graph.tensors[tensor].shapeSignature = None
            place = self.graph.makers[tensor]
            if self.graph.kinds[place] == "CONCATENATION":
                self.graph.graph.operators[place].builtinOptions.axis = len(shape) - 1
            elif self.graph.kinds[place] == "RESHAPE":
                self.graph.make_reshape(self.graph.graph.operators[place])
        for op in (*self.entries, *self.exits):
            self.graph.replace(int(op.outputs[0]), int(op.inputs[0]))
            self.graph.refresh()
        places = {id(op) for op in (*self.entries, *self.exits)}
        self.graph.remove(i for i, op in enumerate(self.graph.graph.operators) if id(op) in places)
