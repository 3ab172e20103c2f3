"""A segment as copies of its operators, one for every tile: for runtimes without WHILE or DYNAMIC_UPDATE_SLICE.

Weights are shared, but every copy of an operator pays its persistent bytes again: the arena's tail grows as its head
falls, and the loop (:mod:`sapool.passes.tiling.loop`) needs less of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sapool.base.tflm_limits import MOST_JOINED
from sapool.passes.tiling.body import Grid, TiledStage, copy_operator
from sapool.tflite import Graph, Operator
from sapool.tflite.edit import make_operator

_HEIGHT, _WIDTH = 1, 2


def run_unrolled(main: Graph, grids: Sequence[Grid]) -> None:
    """Rewrite a main graph so that segments run tile by tile, each tile with operators of its own.

    Args:
        main: changed in place; without control flow.
        grids: the segments and their tiles, in execution order; they share no operator.
    """
    for grid in reversed(grids):  # from the back, so that the places of the operators before stay what they were
        made = list(_Copies(main, grid).all_tiles())
        main.set_operators([*main.operators[: grid.segment.first], *made, *main.operators[grid.segment.last + 1 :]])
    main.drop_unused()


@dataclass
class _Copies:
    """The operators that take a segment's place, while they are made."""

    graph: Graph
    grid: Grid
    numbers: dict[tuple[int, ...], int] = field(default_factory=dict)

    def all_tiles(self) -> Iterator[Operator]:
        """Yield the operators of every tile, each row of tiles joined as soon as it is whole."""
        bands: dict[int, list[int]] = {output: [] for output in self.grid.segment.outputs}
        for row in range(self.grid.rows):
            pieces: dict[int, list[int]] = {output: [] for output in bands}
            for column in range(self.grid.columns):
                yield from self._one_tile(row, column, pieces)
            for output, found in pieces.items():
                yield from self._joined(found, _WIDTH, output, None)
                bands[output].append(found[-1])
        for output, found in bands.items():
            yield from self._joined(found, _HEIGHT, output, output)

    def _one_tile(self, row: int, column: int, pieces: dict[int, list[int]]) -> Iterator[Operator]:
        tile, source = row * self.grid.columns + column, self.grid.segment.source
        begin = self.grid.stages[0].begins()[tile]
        places = {t: t for t in range(len(self.graph.tensors)) if self.graph.is_constant(t)}
        for i, stage in enumerate(self.grid.stages):
            window = stage.shape(stage.stage.source, self._full(stage.stage.source))
            yield from self._slice(source, begin, window)
            places[stage.stage.source] = self.sliced
            for one in stage.stage.operators:
                yield copy_operator(self.graph, self.graph, self.graph.operators[one.place], places, stage)
                if one.made in pieces:
                    yield from self._piece(stage, one.made, places[one.made], row, column)
                    pieces[one.made].append(self.sliced)
            if i + 1 < len(self.grid.stages):
                following = self.grid.stages[i + 1].stage.source
                source = places[following]
                begin = stage.read_begins(stage.stage.outputs.index(following))[tile]

    def _piece(self, stage: TiledStage, output: int, made: int, row: int, column: int) -> Iterator[Operator]:
        """Slice out of a tile what the tiles before it have not made yet."""
        which = stage.stage.outputs.index(output)
        tracks, parts = stage.stage.tracks[output], stage.parts[which]
        axes = (stage.rows, stage.columns)
        begin, shape = [0, 0, 0, 0], [1, 0, 0, self._full(output)[3]]
        for axis, tile in ((0, row), (1, column)):
            part = parts[axis]
            done = part.places[tile - 1] + part.length if tile else 0
            begin[axis + 1] = axes[axis].reads(tracks[axis], part)[tile] + done - part.places[tile]
            shape[axis + 1] = part.places[tile] + part.length - done
        yield from self._slice(made, begin, shape)

    def _slice(self, tensor: int, begin: Sequence[int], shape: Sequence[int]) -> Iterator[Operator]:
        """Yield a SLICE unless it would be the whole tensor; ``sliced`` is what it makes."""
        self.sliced = tensor
        if tuple(shape) != self._full(tensor):
            self.sliced = self.graph.add_like(tensor, shape, "slice")
            inputs = [tensor, self._number(begin), self._number(shape)]
            yield make_operator("SLICE", inputs, [self.sliced], version=2)

    def _joined(self, pieces: list[int], axis: int, output: int, into: int | None) -> Iterator[Operator]:
        """Yield the CONCATENATIONs, nested where there are many; the last entry of ``pieces`` is then the whole."""
        level = pieces
        while len(level) > 1 or (into is not None and level[0] != into):
            groups = [level[i : i + MOST_JOINED] for i in range(0, len(level), MOST_JOINED)]
            level = []
            for group in groups:
                last = into is not None and len(groups) == 1
                level.append(into if last and into is not None else self._room(group, axis, output))
                if len(group) == 1 and not last:
                    level[-1] = group[0]
                    continue
                yield make_operator("CONCATENATION", group, level[-1:], version=2, axis=axis)
        pieces.append(level[0])

    def _room(self, group: Sequence[int], axis: int, output: int) -> int:
        shape = list(self._full(group[0]))
        shape[axis] = sum(self._full(t)[axis] for t in group)
        return self.graph.add_like(output, shape, "joined")

    def _full(self, tensor: int) -> tuple[int, ...]:
        return self.graph.tensors[tensor].shape

    def _number(self, values: Sequence[int]) -> int:
        key = tuple(values)
        if key not in self.numbers:
            self.numbers[key] = self.graph.add_integers(key, "numbers")
        return self.numbers[key]
