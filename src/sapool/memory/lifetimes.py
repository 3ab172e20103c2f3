"""From which step to which each buffer of the arena's head lives, as TensorFlow Lite Micro counts them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate

from sapool.memory.planners import Buffer
from sapool.memory.scratch import scratch_sizes
from sapool.tflite import Graph

UNUSED = -1


@dataclass
class _Lives:
    """A walk in the runtime's order: ``first`` and ``last`` by graph and tensor, ``start`` and ``end`` by operator."""

    graphs: tuple[Graph, ...]
    step: int = 0
    first: list[list[int]] = field(init=False)
    last: list[list[int]] = field(init=False)
    start: list[list[int]] = field(init=False)
    end: list[list[int]] = field(init=False)

    def __post_init__(self) -> None:
        self.first, self.last = ([[UNUSED] * len(g.tensors) for g in self.graphs] for _ in range(2))
        self.start, self.end = ([[UNUSED] * len(g.operators) for g in self.graphs] for _ in range(2))

    def walk(self, index: int) -> None:
        """Mark the lives of one graph's tensors, following its control flow."""
        graph = self.graphs[index]
        self._create(index, (*graph.inputs, *graph.outputs))
        for i, operator in enumerate(graph.operators):
            self.step += 1
            self.start[index][i] = self.step
            self._create(index, operator.outputs)
            for called in operator.called:
                self.step += 1
                self.walk(called)
            self.end[index][i] = self.step
            self._use(index, (*operator.inputs, *operator.outputs))
        self._use(index, graph.outputs)

    def _create(self, index: int, tensors: tuple[int, ...]) -> None:
        for tensor in tensors:
            if tensor >= 0:
                self.first[index][tensor] = self.last[index][tensor] = self.step

    def _use(self, index: int, tensors: tuple[int, ...]) -> None:
        for tensor in tensors:
            if tensor >= 0:
                self.last[index][tensor] = self.step


def _walked(graph: Graph) -> _Lives:
    lives = _Lives(graph.graphs)
    lives.walk(0)
    return lives


def spans_of(graph: Graph) -> tuple[tuple[int, int], ...]:
    """Return each main operator's first and last step (:class:`Buffer`); they differ where it runs other graphs."""
    lives = _walked(graph)
    return tuple(zip(lives.start[0], lives.end[0], strict=True))


def steps_of(graph: Graph) -> tuple[int, ...]:
    """Return the step of :class:`Buffer` at which each operator of the main graph starts."""
    return tuple(start for start, _ in spans_of(graph))


def buffers_of(graph: Graph) -> tuple[Buffer, ...]:
    """Return what the arena's head must hold, in the order in which the runtime adds it: tensors, then scratch.

    Constants and variables are not in the head. A tensor that no operator touches has room of its own all the same.

    Source: tensorflow/tflite-micro, ``micro_allocation_info.cc``.
    """
    lives = _walked(graph)
    buffers = []
    for index, one in enumerate(lives.graphs):
        for i, tensor in enumerate(one.tensors):
            if not tensor.constant and not tensor.variable and tensor.bytes:
                buffers.append(
                    Buffer(tensor.bytes, lives.first[index][i], lives.last[index][i], tensor=i, subgraph=index)
                )
    for index, one in enumerate(lives.graphs):
        for i, operator in enumerate(one.operators):
            first, last = lives.start[index][i], lives.end[index][i]
            buffers += [Buffer(size, first, last, operator=i, subgraph=index) for size in scratch_sizes(one, operator)]
    return tuple(buffers)


def fixed_offsets(graph: Graph, buffers: tuple[Buffer, ...]) -> dict[int, int]:
    """Return the offsets that the file's OfflineMemoryAllocation gives, by place in ``buffers``.

    The list goes through every graph's tensors, one graph after the other.
    """
    if not graph.offline:
        return {}
    sizes = [len(one.tensors) for one in graph.graphs]
    starts = [0, *accumulate(sizes)]
    given = {i: graph.offline[starts[b.subgraph] + b.tensor] for i, b in enumerate(buffers) if b.tensor >= 0}
    return {i: offset for i, offset in given.items() if offset >= 0}
