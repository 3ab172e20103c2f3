"""What running a segment tile by tile costs: bytes alive while a tile runs, and extra multiply-accumulates."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from sapool.memory.planners import aligned
from sapool.passes.tiling.body import Grid
from sapool.tflite import Graph, macs_of

# As measured on the runtime's 64-bit build, rounded: an operator with its output, what a convolution adds, and a loop.
_OPERATOR_BYTES, _CONVOLUTION_BYTES, _CHANNEL_BYTES, _LOOP_BYTES = 110, 60, 8, 1200


def extra_macs(graph: Graph, grid: Grid) -> int:
    """Return the multiply-accumulates that the overlaps of a segment's tiles add."""
    extra = 0
    for stage in grid.stages:
        for one in stage.stage.operators:
            whole = macs_of(graph, graph.operators[one.place])
            if whole:
                full = graph.tensors[one.made].shape
                tile = whole // math.prod(full) * math.prod(stage.shape(one.made, full))
                extra += tile * grid.count - whole
    return extra


def extra_tail(graph: Graph, grid: Grid, unrolled: bool) -> int:
    """Return about how many persistent bytes tiles add (64-bit): to rank by, before the best are predicted exactly."""
    slices = (len(grid.stages) + len(grid.segment.outputs)) * _OPERATOR_BYTES
    if not unrolled:
        return _LOOP_BYTES + 2 * slices
    copies = slices
    for one in grid.segment.operators:
        kind, channels = graph.operators[one.place].kind, graph.tensors[one.made].shape[3]
        copies += _OPERATOR_BYTES + (_CHANNEL_BYTES * channels + _CONVOLUTION_BYTES if "CONV" in kind else 0)
    return grid.count * copies


@dataclass
class _Tape:
    """Buffers in the order in which one tile makes them, and when each is read last."""

    made: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)

    def make(self, size: int, reads: list[int]) -> int:
        """Add a buffer of ``size`` bytes made from others; returns its number."""
        self.made.append(aligned(size))
        self.last.append(len(self.made) - 1)
        for buffer in reads:
            self.last[buffer] = max(self.last[buffer], len(self.made) - 1)
        return len(self.made) - 1

    def most(self) -> int:
        """Return the largest sum of bytes alive at once."""
        alive, most = 0, 0
        ends: dict[int, int] = {}
        for i, size in enumerate(self.made):
            alive += size
            most = max(most, alive)
            ends[self.last[i]] = ends.get(self.last[i], 0) + size
            alive -= ends.pop(i, 0)
        return most


def tile_bytes(graph: Graph, grid: Grid) -> int:
    """Return the most bytes alive inside a tile, without the source and the whole outputs."""
    tape = _Tape()
    before: dict[int, tuple[int, tuple[int, ...]]] = {}  # the last stage's tensors: buffer and shape
    for stage in grid.stages:
        source = stage.stage.source
        window = stage.shape(source, graph.tensors[source].shape)
        given, given_shape = before.get(source, (-1, graph.tensors[source].shape))
        read = given
        if window != given_shape:
            read = tape.make(_bytes(graph, source, window), [given] if given >= 0 else [])
        now = {source: (read, window)}
        for one in stage.stage.operators:
            shape = stage.shape(one.made, graph.tensors[one.made].shape)
            reads = [now[t][0] for t in one.reads if now[t][0] >= 0]
            now[one.made] = (tape.make(_bytes(graph, one.made, shape), reads), shape)
            if one.made in grid.segment.outputs:
                part = stage.part_shape(stage.stage.outputs.index(one.made), shape[3])
                if part != shape:
                    tape.make(_bytes(graph, one.made, part), [now[one.made][0]])
        before = now
    return tape.most()


def _bytes(graph: Graph, tensor: int, shape: tuple[int, ...]) -> int:
    full = graph.tensors[tensor]
    return full.bytes // math.prod(full.shape) * math.prod(shape)
