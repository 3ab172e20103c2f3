"""Which segments of a network to run tile by tile, and in how many tiles."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from sapool.base.arena import ArenaSize
from sapool.memory.lifetimes import buffers_of, fixed_offsets
from sapool.memory.persistent import tail_bytes
from sapool.memory.planners import Buffer, aligned, greedy_offsets, head_of, live_bytes
from sapool.passes.tiling.body import Grid, join_axes, lay_axis
from sapool.passes.tiling.costs import extra_macs, extra_tail, tile_bytes
from sapool.passes.tiling.loop import run_in_loops
from sapool.passes.tiling.segments import Segment, TileableNetwork
from sapool.passes.tiling.unrolled import run_unrolled
from sapool.tflite import Graph, count_macs

Form = Literal["loop", "unrolled"]
FORMS: dict[Form, Callable[[Graph, Sequence[Grid]], None]] = {"loop": run_in_loops, "unrolled": run_unrolled}

# More rows or columns of tiles save little more and overlap ever more.
_MOST_PARTS = 16
# Plans that are built and predicted to the byte; the rest is judged by what is alive.
_BUILT = 16
# What is alive is less than what its placement needs: room to spare inside the loops, as a fraction of the head.
_SPARE = (0.0, 1 / 16, 1 / 8)


@dataclass(frozen=True)
class TilingChoice:
    """What to run tile by tile, and what that is predicted to cost.

    Attributes:
        grids: the segments and their tiles, in execution order.
        extra_macs: multiply-accumulates that the overlaps of tiles add.
        macs: of one inference before.
        size: head and tail of the arena on a 64-bit build, predicted.
        before: and those of the file as it was.
    """

    grids: tuple[Grid, ...]
    extra_macs: int
    macs: int
    size: ArenaSize
    before: ArenaSize


@dataclass(frozen=True)
class _Option:
    """One way to run a segment: the bytes alive meanwhile, its extra multiply-accumulates and persistent bytes."""

    grid: Grid
    bytes: int
    macs: int
    tail: int


@dataclass(frozen=True)
class _Way:
    """The cheapest way through the first operators: multiply-accumulates and persistent bytes that tiles add."""

    macs: int = 0
    tail: int = 0
    grids: tuple[Grid, ...] = ()

    def then(self, option: _Option) -> _Way:
        """Return this way with one more segment in tiles."""
        return _Way(self.macs + option.macs, self.tail + option.tail, (*self.grids, option.grid))


def choose_tiling(
    graph: Graph, *, most_extra_macs: float = 0.2, least_saving: float = 0.02, form: Form = "loop"
) -> TilingChoice | None:
    """Choose the segments and tiles with the least arena.

    For a head of so many bytes, the cheapest way to stay within it is a shortest path: every operator either runs as it
    is, where what is alive fits, or inside a segment that runs tile by tile. The least heads that stay within the extra
    multiply-accumulates are built and predicted to the byte; the least head and tail together wins.

    Args:
        graph: a main graph; it is not changed.
        most_extra_macs: extra multiply-accumulates allowed, as a fraction of the network's.
        least_saving: the fraction of head and tail that must be saved to be worth a slower network.
        form: ``"loop"``, or ``"unrolled"`` where the runtime has no WHILE or DYNAMIC_UPDATE_SLICE.

    Returns:
        The choice, or None where none helps, or where the file has control flow or given offsets already.
    """
    if graph.subgraphs or graph.offline:
        return None
    macs = count_macs(graph)
    before = _predict(graph)
    best: TilingChoice | None = None
    for way in _cheapest_ways(graph, TileableNetwork(graph), form, int(macs * most_extra_macs)):
        tiled = graph.copy()
        FORMS[form](tiled, way.grids)
        size = _predict(tiled)
        if best is None or size.total_bytes < best.size.total_bytes:
            best = TilingChoice(way.grids, way.macs, macs, size, before)
    return best if best is not None and best.size.total_bytes <= (1 - least_saving) * before.total_bytes else None


def _predict(graph: Graph) -> ArenaSize:
    buffers = buffers_of(graph)
    return ArenaSize(head_of(buffers, greedy_offsets(buffers, fixed_offsets(graph, buffers))), tail_bytes(graph))


@dataclass(frozen=True)
class _Problem:
    """A network whose operators run as they are or in tiles.

    Attributes:
        plain: bytes alive at each operator as it is.
        options: the ways to run a segment in tiles, by the place of its first operator.
        most_macs: extra multiply-accumulates allowed.
        spare_tail: whether persistent bytes decide between ways before multiply-accumulates do.
    """

    plain: list[int]
    options: dict[int, list[_Option]]
    most_macs: int
    spare_tail: bool

    def way_within(self, head: int, tiled: int) -> _Way | None:
        """Return the cheapest way with ``head`` bytes alive at operators as they are, and ``tiled`` inside tiles."""
        best: list[_Way | None] = [None] * (len(self.plain) + 1)
        best[0] = _Way()
        for place, alive in enumerate(self.plain):
            way = best[place]
            if way is None:
                continue
            if alive <= head:
                best[place + 1] = self._better(best[place + 1], way)
            for option in self.options.get(place, ()):
                end = option.grid.segment.last + 1
                if option.bytes <= tiled and way.macs + option.macs <= self.most_macs:
                    best[end] = self._better(best[end], way.then(option))
        return best[-1]

    def _better(self, one: _Way | None, other: _Way) -> _Way:
        if one is None:
            return other
        if self.spare_tail:
            return other if (other.tail, other.macs) < (one.tail, one.macs) else one
        return other if (other.macs, other.tail) < (one.macs, one.tail) else one


def _cheapest_ways(graph: Graph, network: TileableNetwork, form: Form, most_macs: int) -> list[_Way]:
    """Return different ways within the extra multiply-accumulates, those with the least head and tail."""
    buffers = buffers_of(graph)
    alive = live_bytes(buffers)
    steps = sorted(alive)
    plain = [_at(alive, steps, place + 1) for place in range(len(graph.operators))]
    options = _all_options(graph, network, form, plain, most_macs)
    problem = _Problem(plain, options, most_macs, form == "unrolled")
    heads = sorted({*plain, *(option.bytes for found in options.values() for option in found)})
    heads = [head for head in heads if head < max(plain)]
    low = bisect_left(heads, True, key=lambda head: problem.way_within(head, head) is not None)
    ways: dict[tuple[int, ...], tuple[int, _Way]] = {}
    for head in heads[low:]:
        for spare in _SPARE:
            way = problem.way_within(head, int(head * (1 - spare)))
            if way is not None and way.grids:
                ways.setdefault(tuple(id(grid) for grid in way.grids), (head + way.tail, way))
    return [way for _, way in sorted(ways.values(), key=lambda found: found[0])[:_BUILT]]


def _at(alive: dict[int, int], steps: Sequence[int], step: int) -> int:
    """Return the bytes alive at a step; where no life begins or ends, those of the step before."""
    place = bisect_left(steps, step + 1) - 1
    return alive[steps[place]] if place >= 0 else 0


def _all_options(
    graph: Graph, network: TileableNetwork, form: Form, plain: Sequence[int], most_macs: int
) -> dict[int, list[_Option]]:
    """Return the ways to run each segment that no other way beats, by the place of its first operator."""
    found: dict[int, list[_Option]] = {}
    buffers = buffers_of(graph)
    least = max((aligned(graph.tensors[t].bytes) for t in graph.inputs), default=0)
    for source in network.readers:
        if source < 0 or graph.is_constant(source):
            continue
        for segment in network.segments(source):
            needed, outside = max(plain[segment.first : segment.last + 1]), _outside(graph, buffers, segment)
            if needed <= least or outside >= needed:
                continue
            options = list(_options(graph, network, segment, form, most_macs))
            if not options:
                break  # a longer run overlaps more still
            moved = [replace(option, bytes=option.bytes + outside) for option in options]
            found.setdefault(segment.first, []).extend(_front([o for o in moved if o.bytes < needed]))
    return found


def _outside(graph: Graph, buffers: Sequence[Buffer], segment: Segment) -> int:
    """Return the bytes that live through a whole segment: its source and outputs, and what passes it by."""
    step = segment.first + 1
    kept = sum(aligned(b.size) for b in buffers if b.tensor >= 0 and b.first < step <= b.last)
    return kept + sum(aligned(graph.tensors[t].bytes) for t in segment.outputs)


def _options(graph: Graph, network: TileableNetwork, segment: Segment, form: Form, most_macs: int) -> Iterator[_Option]:
    """Yield the ways to run a segment within the extra multiply-accumulates; ``bytes`` are those of a tile alone."""
    stages = network.stages(segment)
    height = min(graph.tensors[t].shape[1] for t in segment.outputs)
    width = min(graph.tensors[t].shape[2] for t in segment.outputs)
    counts = _counts(height, width)
    rows_of = {count: lay_axis(stages, 0, count) for count in {rows for rows, _ in counts}}
    columns_of = {count: lay_axis(stages, 1, count) for count in {columns for _, columns in counts}}
    for rows, columns in counts:
        grid = join_axes(segment, stages, rows_of[rows], columns_of[columns])
        macs = extra_macs(graph, grid)
        if macs <= most_macs:
            yield _Option(grid, tile_bytes(graph, grid), macs, extra_tail(graph, grid, form == "unrolled"))


def _counts(height: int, width: int) -> list[tuple[int, int]]:
    """Return the numbers of tiles worth a try: squares, stripes, and tiles twice as wide as high."""

    def fewest(size: int, count: int) -> int:
        """Return the least count that makes parts no longer than ``count`` does."""
        return -(-size // -(-size // count))

    counts = {
        (fewest(height, n), fewest(width, columns))
        for n in range(2, min(height, _MOST_PARTS) + 1)
        for columns in (1, -(-n // 2), n)
        if columns <= width
    }
    return sorted(counts)


def _front(options: Sequence[_Option]) -> list[_Option]:
    """Return the options that no other beats in bytes, multiply-accumulates and persistent bytes at once."""
    kept: list[_Option] = []
    for option in sorted(options, key=lambda o: (o.bytes, o.macs, o.tail)):
        if not any(other.macs <= option.macs and other.tail <= option.tail for other in kept):
            kept.append(option)
    return kept
