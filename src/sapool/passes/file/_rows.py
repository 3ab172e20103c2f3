"""RESHAPEs around operators that work on the last axis alone.

A matrix product with one right-hand matrix, a soft-max over the last axis or a sigmoid do the same to (1, 16, 16, E) as
to (256, E): how the rows are grouped is nothing to them. So between RESHAPEs that only regroup rows they run on the
outer grouping just as well, and the RESHAPEs go.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from sapool.tflite import Graph, Operator
from sapool.tflite.edit import as_reshape

# Each value alone; TFLM's kernels of these take any shape.
_POINTWISE = frozenset({"LOGISTIC", "TANH", "RELU", "RELU6", "HARD_SWISH", "QUANTIZE", "DEQUANTIZE"})


def drop_row_reshapes(graph: Graph) -> int:
    """Find RESHAPEs that only regroup rows, and run what is between on the grouping outside; returns how many went."""
    for _, op in graph.of_kind("RESHAPE"):
        source, made = (graph.tensors[t].shape for t in (op.inputs[0], op.outputs[0]))
        if len(source) < 2 or len(made) < 2 or source[-1] != made[-1] or not graph.readers(op.outputs[0]):
            continue
        region = _Region(graph, source[:-1], made[:-1])
        if region.grow(op.outputs[0]) and region.gain > 0:
            region.regroup()
            return region.gain
    return 0


@dataclass
class _Region:
    """Tensors whose rows are grouped as ``inner`` and could be as ``outer``, joined by operators on the last axis.

    ``entries`` and ``exits`` are the places of the RESHAPEs at its edges.
    """

    graph: Graph
    outer: tuple[int, ...]
    inner: tuple[int, ...]
    tensors: list[int] = field(default_factory=list)
    entries: list[int] = field(default_factory=list)
    exits: list[int] = field(default_factory=list)

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

    def _shape(self, tensor: int) -> tuple[int, ...]:
        return self.graph.tensors[tensor].shape

    def _joined(self, tensor: int) -> list[int] | None:
        """Return the tensors that are regrouped with this one; None where it must stay as it is."""
        if tensor in self.graph.outputs or self._shape(tensor)[:-1] != self.inner:
            return None
        place = self.graph.makers.get(tensor)
        if place is None:
            return None
        joined = self._through_maker(place)
        for reader in self.graph.readers(tensor):
            through = self._through_reader(reader, tensor)
            if joined is None or through is None:
                return None
            joined += through
        return joined

    def _through_maker(self, place: int) -> list[int] | None:
        op = self.graph.operators[place]
        if op.kind != "RESHAPE":
            rows = self._rows_of(op)
            return None if rows is None else list(rows)
        source, made = op.inputs[0], op.outputs[0]
        if self.graph.same_values(source, made) and self._shape(source) == (*self.outer, self._shape(made)[-1]):
            self.entries.append(place)
        return []

    def _through_reader(self, place: int, tensor: int) -> list[int] | None:
        op = self.graph.operators[place]
        if op.kind == "RESHAPE":  # the same bytes, whatever the shape it reads
            made = op.outputs[0]
            alike = self.graph.same_values(tensor, made) and made not in self.graph.outputs
            if alike and self._shape(made) == (*self.outer, self._shape(tensor)[-1]):
                self.exits.append(place)
            return []
        rows = self._rows_of(op)
        if rows is None or op.inputs.count(tensor) != rows.count(tensor):
            return None  # it is also the matrix of a product
        return [*rows, op.outputs[0]]

    def _rows_of(self, op: Operator) -> Sequence[int] | None:
        """Return the inputs of an operator whose rows it maps one by one; None for any other operator."""
        if op.kind in _POINTWISE or op.kind == "SOFTMAX":
            return op.inputs
        if op.kind == "BATCH_MATMUL":
            matrix = self._shape(op.inputs[1])
            fits = not op.options.flag("adjX") and math.prod(matrix[:-2]) == 1 and len(matrix) <= len(self.outer) + 1
            return op.inputs[:1] if fits and len(self.outer) < 5 else None
        if op.kind == "CONCATENATION":
            return op.inputs if op.options.integer("axis") in (-1, len(self.inner)) else None
        return None

    def regroup(self) -> None:
        """Give every tensor the outer grouping and remove the RESHAPEs at the edges that then change nothing."""
        graph = self.graph
        for tensor in self.tensors:
            shape = (*self.outer, self._shape(tensor)[-1])
            graph.change_tensor(tensor, shape=shape, signature=())
            place = graph.makers[tensor]
            op = graph.operators[place]
            if op.kind == "CONCATENATION":
                graph.change_operator(place, options=op.options.changed(axis=len(shape) - 1))
            elif op.kind == "RESHAPE":
                graph.put(place, as_reshape(graph, op))
        gone = [*self.entries, *self.exits]
        for place in gone:
            op = graph.operators[place]
            graph.redirect(op.outputs[0], op.inputs[0])
        graph.remove(gone)
