"""One tile of a segment: its windows along both axes, and the copies of the operators that run on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sapool.passes.tiling.regions import AxisTiles, Part, equal_parts, tile_axis
from sapool.passes.tiling.segments import Segment, Stage
from sapool.tflite import Graph, Operator, Tensor

Places = list[tuple[int, int, int, int]]


@dataclass(frozen=True)
class TiledStage:
    """The windows of one stage.

    Attributes:
        stage: what runs on them.
        rows: windows along the height.
        columns: windows along the width.
        parts: for each of the stage's outputs the rows and columns every tile brings.
    """

    stage: Stage
    rows: AxisTiles
    columns: AxisTiles
    parts: tuple[tuple[Part, Part], ...]

    def shape(self, tensor: int, full: Sequence[int]) -> tuple[int, ...]:
        """Return a tensor's shape inside one tile; ``full`` is its shape in the network."""
        rows, columns = self.stage.tracks[tensor]
        return (1, rows.window(self.rows.cut), columns.window(self.columns.cut), full[3])

    def begins(self) -> Places:
        """Return where each tile's window starts in the whole source, (N, H, W, C)."""
        return _begins(self.rows.window.places, self.columns.window.places)

    def read_begins(self, output: int) -> Places:
        """Return where each tile finds, in its own window of an output, its part of it."""
        (rows, columns), (row_part, column_part) = self.stage.tracks[self.stage.outputs[output]], self.parts[output]
        return _begins(self.rows.reads(rows, row_part), self.columns.reads(columns, column_part))

    def write_begins(self, output: int) -> Places:
        """Return where each tile's part of an output lies in the whole of it."""
        return _begins(self.parts[output][0].places, self.parts[output][1].places)

    def part_shape(self, output: int, channels: int) -> tuple[int, ...]:
        """Return the shape of a tile's part of an output."""
        rows, columns = self.parts[output]
        return (1, rows.length, columns.length, channels)


def _begins(rows: Sequence[int], columns: Sequence[int]) -> Places:
    return [(0, y, x, 0) for y in rows for x in columns]


@dataclass(frozen=True)
class Grid:
    """How the tiles of a segment lie: row by row, ``rows`` x ``columns`` of them."""

    segment: Segment
    stages: tuple[TiledStage, ...]
    rows: int
    columns: int

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return self.rows * self.columns


def make_grid(segment: Segment, stages: Sequence[Stage], rows: int, columns: int) -> Grid:
    """Lay ``rows`` x ``columns`` tiles over a segment; its stages as :meth:`TileableNetwork.stages` gives them."""
    return join_axes(segment, stages, lay_axis(stages, 0, rows), lay_axis(stages, 1, columns))


AxisLayout = list[tuple[AxisTiles, tuple[Part, ...]]]


def lay_axis(stages: Sequence[Stage], axis: int, count: int) -> AxisLayout:
    """Lay windows along one axis, from a segment's outputs back to its source.

    Args:
        stages: of the segment.
        axis: 0 for rows, 1 for columns.
        count: how many tiles.

    Returns:
        For each stage its windows, and the parts of its outputs.
    """
    laid: AxisLayout = []
    wanted: dict[int, Part] = {}
    for stage in reversed(stages):
        tracks = {t: axes[axis] for t, axes in stage.tracks.items()}
        parts = tuple(wanted.get(t) or equal_parts(tracks[t].size, count) for t in stage.outputs)
        outputs = [(tracks[t], part) for t, part in zip(stage.outputs, parts, strict=True)]
        tiles = tile_axis(tracks[stage.source].size, stage.steps[axis], outputs, list(tracks.values()))
        laid.insert(0, (tiles, parts))
        wanted[stage.source] = tiles.window
    return laid


def join_axes(segment: Segment, stages: Sequence[Stage], rows: AxisLayout, columns: AxisLayout) -> Grid:
    """Return the tiles of two layouts of a segment."""
    tiled = [
        TiledStage(stage, row_tiles, column_tiles, tuple(zip(row_parts, column_parts, strict=True)))
        for stage, (row_tiles, row_parts), (column_tiles, column_parts) in zip(stages, rows, columns, strict=True)
    ]
    return Grid(segment, tuple(tiled), len(rows[0][0].window.places), len(columns[0][0].window.places))


def copy_operator(main: Graph, graph: Graph, op: Operator, places: dict[int, int], stage: TiledStage) -> Operator:
    """Return a copy of an operator of the main graph that runs on one tile, in ``graph``.

    Args:
        main: the main graph.
        graph: where the copy goes; its output, and constants it lacks, are added.
        op: the operator.
        places: tensor of the main graph -> its place in ``graph``; what is added is entered.
        stage: the windows it runs on.
    """
    for tensor in op.inputs:
        if tensor not in places and main.is_constant(tensor):
            places[tensor] = graph.add_tensor(main.tensors[tensor])
    (made,) = op.outputs
    whole = main.tensors[made]
    inputs = tuple(places[t] if t >= 0 else -1 for t in op.inputs)
    places[made] = add_part(graph, whole, stage.shape(made, whole.shape), f"{whole.name};tile")
    return replace(op, inputs=inputs, outputs=(places[made],))


def add_part(graph: Graph, whole: Tensor, shape: Sequence[int], name: str) -> int:
    """Add a computed tensor with the type and quantisation of another, maybe of another graph; returns its place."""
    return graph.add_tensor(Tensor(name, tuple(shape), whole.dtype, whole.quantization))


def add_numbers(graph: Graph, shape: Sequence[int], name: str, dtype: str = "int32") -> int:
    """Add a computed tensor that is not quantised; returns its place."""
    return graph.add_tensor(Tensor(name, tuple(shape), dtype))
