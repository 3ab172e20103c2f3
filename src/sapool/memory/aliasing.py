"""Which tensors may lie on top of each other in the arena without changing one bit of the outputs.

The runtime never shares bytes between an operator's input and output, but it takes offsets from a file without checking
them for overlaps. Three kinds of sharing keep every output bit:

- **Views**: RESHAPE, SQUEEZE and EXPAND_DIMS copy bytes as they are. With one place for both, RESHAPE copies nothing
  (its kernel compares the pointers), EXPAND_DIMS writes to every byte what it just read there, and SQUEEZE calls
  ``memcpy`` with equal pointers, which C leaves undefined but which every C library that GCC or Clang link against must
  bear, as both emit that call themselves for ``a = a``. A view's input may live on: it holds the same bytes.
- **In place**: an operator that works element by element, or row by row with all of the row read before the first
  element is written (SOFTMAX), may write over an input that nothing reads again.
- **Joined in place**: CONCATENATION along the outermost axis that isn't one is a run of ``memcpy``; an input that was
  made where its part of the output will be is copied onto itself (as SQUEEZE). Only at multiples of the alignment.

Read for this, at the versions of October 2026: tensorflow/tflite-micro's reference kernels (``reshape.cc``,
``squeeze.cc``, ``expand_dims.cc``, ``concatenation.h``, ``integer_ops/add.h``, ``mul.h``, ``sub.h``, ``requantize.h``,
``activations_common.cc``, ``logistic.h``, ``tanh.h``, ``hard_swish.h``, ``leaky_relu.h``, ``softmax.h``): each reads an
element before it writes it, broadcasting versions too, for the operand that is not broadcast. CMSIS-NN's ADD, MUL and
SOFTMAX load a vector before they store it, in the same order, so they keep it. So do ESP-NN's SOFTMAX (S3, P4) and MUL
(P4); its assembly for ADD and MUL on the S3, its HARD_SWISH, and the kernels of other vendors were not read: compare
outputs on the board, or plan without sharing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from sapool.memory.lifetimes import spans_of
from sapool.memory.offline import Cluster
from sapool.memory.planners import ALIGNMENT, Buffer
from sapool.tflite import BYTES_OF, Graph, Operator

VIEWS = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
# The operands that may be written over.
IN_PLACE: dict[str, int] = {
    "RELU": 1,
    "RELU6": 1,
    "LEAKY_RELU": 1,
    "LOGISTIC": 1,
    "TANH": 1,
    "HARD_SWISH": 1,
    "QUANTIZE": 1,
    "SOFTMAX": 1,
    "ADD": 2,
    "MUL": 2,
    "SUB": 2,
}


@dataclass
class _Sharing:
    """Clusters of buffers as they grow.

    Attributes:
        buffers: of the arena.
        cluster: [buffer] -> the cluster it is in.
        at: [buffer] -> its offset in bytes from the cluster's own zero, which may be negative.
        content: [buffer] -> equal for buffers whose shared bytes are the same values.
        members: [cluster] -> its buffers.
    """

    buffers: Sequence[Buffer]
    cluster: list[int] = field(init=False)
    at: list[int] = field(init=False)
    content: list[int] = field(init=False)
    members: dict[int, list[int]] = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.buffers)
        self.cluster, self.content, self.at = list(range(count)), list(range(count)), [0] * count
        self.members = {i: [i] for i in range(count)}

    def join(self, source: int, target: int, shift: int, step: int | None) -> bool:
        """Put ``target`` at ``shift`` bytes from ``source`` if no other two buffers come to harm; returns whether.

        Args:
            source: an input of an operator.
            target: its output, or for CONCATENATION the other way round.
            shift: in bytes.
            step: when the operator writes over its input; None for a view.
        """
        ours, theirs = self.cluster[source], self.cluster[target]
        move = self.at[source] + shift - self.at[target]
        if ours == theirs:
            return False
        for one in self.members[ours]:
            for other in self.members[theirs]:
                if not self._harmless(one, other, move, (source, target), step):
                    return False
        for other in self.members.pop(theirs):
            self.cluster[other], self.at[other] = ours, self.at[other] + move
            self.members[ours].append(other)
        if step is None:
            old, new = self.content[target], self.content[source]
            self.content = [new if c == old else c for c in self.content]
        return True

    def _harmless(self, one: int, other: int, move: int, pair: tuple[int, int], step: int | None) -> bool:
        """Whether ``one`` and ``other``, moved, may lie as they would if ``pair`` is joined."""
        shared = _common(self._span(one), self._span(other, move))
        a, b = self.buffers[one], self.buffers[other]
        if shared is None:
            return True
        together = a.first <= b.last and b.first <= a.last
        if step is not None:
            return not together or ((one, other) == pair and a.last == step == b.first)
        if self.content[one] != self.content[pair[0]] or self.content[other] != self.content[pair[1]]:
            return not together
        # All four hold the same values, but only where the pair itself overlaps.
        return _common(shared, _common(self._span(pair[0]), self._span(pair[1], move))) == shared

    def _span(self, buffer: int, move: int = 0) -> tuple[int, int]:
        return self.at[buffer] + move, self.at[buffer] + move + self.buffers[buffer].size

    def clusters(self) -> tuple[Cluster, ...]:
        """Return the clusters of more than one buffer, each starting at zero."""
        found = []
        for members in self.members.values():
            if len(members) > 1:
                start = min(self.at[i] for i in members)
                found.append(tuple((i, self.at[i] - start) for i in sorted(members)))
        return tuple(found)


def _common(one: tuple[int, int] | None, other: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return the part of the arena that two spans (start, end) have in common, if any."""
    if one is None or other is None:
        return None
    start, end = max(one[0], other[0]), min(one[1], other[1])
    return (start, end) if start < end else None


def clusters_of(
    graph: Graph, buffers: Sequence[Buffer], *, joined: bool = True, last_operand: bool = False
) -> tuple[Cluster, ...]:
    """Return which buffers may share bytes, and at what distance, without changing one bit of the outputs.

    Args:
        graph: with one graph only (no control flow).
        buffers: of that graph, from :func:`sapool.memory.lifetimes.buffers_of`.
        joined: whether inputs of CONCATENATION may be made in place.
        last_operand: which of two inputs that both could be written over is: the last one instead of the first.

    Returns:
        For :func:`sapool.memory.offline.best_offsets`.
    """
    places = {buffer.tensor: i for i, buffer in enumerate(buffers) if buffer.tensor >= 0}
    sharing = _Sharing(buffers)
    for operator, (step, _) in zip(graph.operators, spans_of(graph), strict=True):
        if not operator.outputs or operator.outputs[0] not in places:
            continue
        output = places[operator.outputs[0]]
        if operator.kind == "CONCATENATION" and joined:
            for tensor, shift in _parts(graph, operator):
                if tensor in places:
                    sharing.join(output, places[tensor], shift, None)
        for tensor in _shareable(graph, operator, last_operand):
            view = operator.kind in VIEWS
            if tensor in places and sharing.join(places[tensor], output, 0, None if view else step):
                break
    return sharing.clusters()


def _shareable(graph: Graph, operator: Operator, last_operand: bool) -> list[int]:
    """Return the inputs with which an operator may share its output's place, in order of preference."""
    operands = list(operator.inputs[: 1 if operator.kind in VIEWS else IN_PLACE.get(operator.kind, 0)])
    made = graph.tensors[operator.outputs[0]]
    fitting = []
    for tensor in reversed(operands) if last_operand else operands:
        if tensor < 0 or (tensor in graph.outputs and operator.kind not in VIEWS):
            continue  # a result must be there at the end, as it is
        taken = graph.tensors[tensor]
        same_size = BYTES_OF.get(taken.dtype) == BYTES_OF.get(made.dtype) and taken.bytes == made.bytes
        if same_size and tensor not in fitting:
            fitting.append(tensor)
    return fitting


def _parts(graph: Graph, operator: Operator) -> list[tuple[int, int]]:
    """Return (input, its offset in bytes in the output) of a CONCATENATION whose inputs lie one behind the other."""
    whole = graph.tensors[operator.outputs[0]].shape
    shapes = [graph.tensors[i].shape for i in operator.inputs]
    if any(len(shape) != len(whole) for shape in shapes):
        return []
    axes = [a for a in range(len(whole)) if any(shape[a] != whole[a] for shape in shapes)]
    if len(axes) != 1 or math.prod(whole[: axes[0]]) != 1:
        return []
    parts, offset = [], 0
    for tensor in operator.inputs:
        if offset % ALIGNMENT == 0 and operator.inputs.count(tensor) == 1:
            parts.append((tensor, offset))
        offset += graph.tensors[tensor].bytes
    return parts
