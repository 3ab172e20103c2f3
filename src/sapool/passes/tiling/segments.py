"""The parts of a network that can run tile by tile, and where their windows may be cut again on the way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from sapool.passes.tiling.local_operators import LocalOperator, local_operators
from sapool.passes.tiling.regions import Track, merge
from sapool.tflite import Graph

Axes = tuple[Track, Track]


@dataclass(frozen=True)
class Segment:
    """Operators of the main graph that can run tile by tile, one after the other in the execution order.

    Attributes:
        source: the tensor that is cut into windows.
        operators: in execution order.
        outputs: the tensors that others read, each of which must come out whole.
    """

    source: int
    operators: tuple[LocalOperator, ...]
    outputs: tuple[int, ...]

    @property
    def first(self) -> int:
        """The place of the first operator in the execution order."""
        return self.operators[0].place

    @property
    def last(self) -> int:
        """The place of the last operator."""
        return self.operators[-1].place


@dataclass(frozen=True)
class Stage:
    """Operators of a segment that run on one window of their source.

    Attributes:
        source: the tensor that windows are cut from.
        operators: in execution order.
        outputs: the tensors that the next stage or operators outside read.
        tracks: every tensor's rows and columns as seen from the source.
    """

    source: int
    operators: tuple[LocalOperator, ...]
    outputs: tuple[int, ...]
    tracks: dict[int, Axes]

    @cached_property
    def steps(self) -> tuple[int, int]:
        """By how many rows and columns of the source windows may be shifted."""
        inside = self.tracks.values()
        return math.lcm(*(rows.stride for rows, _ in inside)), math.lcm(*(columns.stride for _, columns in inside))


class TileableNetwork:
    """What tiling needs to know of a main graph, read once."""

    def __init__(self, graph: Graph) -> None:
        self.shapes = [tensor.shape for tensor in graph.tensors]
        self.local = {one.place: one for one in local_operators(graph)}
        self.readers: dict[int, list[int]] = {t: [len(graph.operators)] for t in graph.outputs}
        for place, op in enumerate(graph.operators):
            for t in op.inputs:
                self.readers.setdefault(t, []).append(place)

    def segments(self, source: int) -> Iterator[Segment]:
        """Yield every run of operators that can run tile by tile behind a tensor, the shortest first."""
        readers = [place for place in self.readers.get(source, []) if place in self.local]
        shape = self.shapes[source]
        if not readers or len(shape) != 4:
            return
        known: dict[int, Axes] = {source: (Track(shape[1]), Track(shape[2]))}
        chosen: list[LocalOperator] = []
        place = min(readers)
        while (one := self.local.get(place)) is not None and (tracks := track(one, known)) is not None:
            known[one.made] = tracks
            chosen.append(one)
            if outputs := self._read_outside(chosen):
                yield Segment(source, tuple(chosen), outputs)
            place += 1

    def _read_outside(self, chosen: Sequence[LocalOperator]) -> tuple[int, ...]:
        """Return what the chosen operators make and others, or the caller, read."""
        inside = {one.place for one in chosen}
        return tuple(one.made for one in chosen if any(r not in inside for r in self.readers.get(one.made, [])))

    def stages(self, segment: Segment) -> tuple[Stage, ...]:
        """Cut a segment where a single map leads on, so that each stage's windows are no larger than it needs.

        Between two operators that look around them the smallest such map is taken; the window is sliced out of it.
        """
        single = self._single_maps(segment)
        bounds: list[LocalOperator] = []
        candidate: LocalOperator | None = None
        looked = False
        for one in segment.operators:
            if one.looks_around:
                if looked and candidate is not None:
                    bounds.append(candidate)
                looked, candidate = True, None
            if one.place in single and (candidate is None or self._size(one) < self._size(candidate)):
                candidate = one
        return tuple(_stages(segment, bounds, self.shapes))

    def _size(self, one: LocalOperator) -> int:
        return math.prod(self.shapes[one.made])

    def _single_maps(self, segment: Segment) -> set[int]:
        """Return the operators whose output alone leads on: nothing behind them reads what was made before."""
        inside = {one.place for one in segment.operators}
        last = {t: max((p for p in self.readers.get(t, []) if p in inside), default=-1) for t in self._tensors(segment)}
        single, older = set(), last[segment.source]
        for one in segment.operators:
            if older <= one.place < last[one.made] and one.made not in segment.outputs:
                single.add(one.place)
            older = max(older, last[one.made])
        return single

    @staticmethod
    def _tensors(segment: Segment) -> list[int]:
        return [segment.source, *(one.made for one in segment.operators)]


def track(one: LocalOperator, known: dict[int, Axes]) -> Axes | None:
    """Return the tracks of an operator's output; None if it reads what is not known or not aligned."""
    if any(t not in known for t in one.reads):
        return None
    rows, columns = (merge([known[t][axis] for t in one.reads]) for axis in (0, 1))
    if rows is None or columns is None:
        return None
    return rows.through(one.taps[0], one.size[0]), columns.through(one.taps[1], one.size[1])


def _stages(segment: Segment, bounds: Sequence[LocalOperator], shapes: Sequence[tuple[int, ...]]) -> Iterator[Stage]:
    source, left = segment.source, list(segment.operators)
    for bound in [*bounds, segment.operators[-1]]:
        chosen = left[: left.index(bound) + 1]
        left = left[len(chosen) :]
        tracks: dict[int, Axes] = {source: (Track(shapes[source][1]), Track(shapes[source][2]))}
        for one in chosen:
            tracks[one.made] = track(one, tracks) or tracks[source]  # the segment was found by the same rule
        outputs = [one.made for one in chosen if one.made in segment.outputs]
        if left:
            outputs.append(bound.made)
        yield Stage(source, tuple(chosen), tuple(outputs), tracks)
        source = bound.made
