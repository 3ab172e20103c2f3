"""A segment as one loop over its tiles: each operator is in the file, and in the arena's tail, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np

from sapool.passes.tiling.body import Grid, Places, TiledStage, copy_operator
from sapool.passes.tiling.local_operators import shape_of
from sapool.passes.tiling.shared import Place, share_places
from sapool.tflite.building import add_constant, add_tensor, new_graph, operator
from sapool.tflite.file import schema

# Places are (N, H, W, C); the loop's counter counts numbers of the tables, so that it can be used as it is.
_RANK = 4


def run_in_loops(model: Any, grids: Sequence[Grid]) -> None:
    """Rewrite a ``ModelT`` so that each of several segments runs in a WHILE loop, one tile an iteration.

    Every tile slices its window out of the source, at a place that it reads from a table, runs the operators on it and
    writes its part of the outputs into whole maps (DYNAMIC_UPDATE_SLICE). The source and the outputs are variables of
    the loop; each has one place in the arena for all its copies.

    Args:
        model: the file, changed in place; one main graph, and no offsets given yet.
        grids: the segments of its main graph and their tiles, in execution order; they share no operator.
    """
    main = model.subgraphs[0]
    shared: dict[int, set[Place]] = {}
    for grid in reversed(grids):  # from the back, so that the places of the operators before stay what they were
        variables = _Variables.add(model, grid)
        condition = _add_condition(model, variables, grid.count)
        body = _add_body(model, variables, grid)
        made = {"condSubgraphIndex": condition.index, "bodySubgraphIndex": body.index}
        loop = operator(model, "WHILE", variables.given, variables.made, **made)
        before, after = main.operators[: grid.segment.first], main.operators[grid.segment.last + 1 :]
        main.operators = [*before, *variables.fills, loop, *after]
        for i, tensor in enumerate((grid.segment.source, *grid.segment.outputs), start=1):
            copies = shared.setdefault(tensor, set())
            copies |= {(0, variables.given[i]), (0, variables.made[i])}
            for graph in (condition, body):
                copies |= {(graph.index, graph.inputs[i]), (graph.index, graph.outputs[i])}
    share_places(model, list(shared.values()))


@dataclass
class _Variables:
    """What the loop carries: its counter, the source, then the outputs.

    Attributes:
        shapes: of each.
        like: a tensor of the same type and quantisation, None for the counter.
        given: the tensors of the main graph that go in.
        made: those that come out.
        fills: operators that make the empty maps.
    """

    shapes: list[tuple[int, ...]]
    like: list[Any]
    given: list[int]
    made: list[int]
    fills: list[Any] = field(default_factory=list)

    @classmethod
    def add(cls, model: Any, grid: Grid) -> _Variables:
        """Add to the main graph what goes into the loop and comes out of it."""
        main, segment = model.subgraphs[0], grid.segment
        source = main.tensors[segment.source]
        counter = add_constant(model, main, np.zeros(1, np.int32), "first_tile")
        last = add_tensor(main, (1,), "last_tile")
        through = add_tensor(main, shape_of(source), "source_behind_tiles", like=source)
        variables = cls([(1,), shape_of(source)], [None, source], [counter, segment.source], [last, through])
        for output in segment.outputs:
            variables._add_output(model, output)
        return variables

    def _add_output(self, model: Any, output: int) -> None:
        main = model.subgraphs[0]
        tensor = main.tensors[output]
        shape = shape_of(tensor)
        sides = add_constant(model, main, np.array(shape, np.int32), "map_shape")
        kind = {schema().TensorType.INT8: np.int8, schema().TensorType.FLOAT32: np.float32}[tensor.type]
        nothing = add_constant(model, main, np.zeros((), kind), "nothing", tensor)
        empty = add_tensor(main, shape, "empty_map", like=tensor)
        self.fills.append(operator(model, "FILL", [sides, nothing], [empty], version=3))
        self.shapes.append(shape)
        self.like.append(tensor)
        self.given.append(empty)
        self.made.append(output)

    def add_to(self, graph: Any) -> list[int]:
        """Add the variables to another graph as its inputs."""
        return [
            add_tensor(graph, shape, f"variable_{i}", like=like)
            for i, (shape, like) in enumerate(zip(self.shapes, self.like, strict=True))
        ]


@dataclass(frozen=True)
class _Graph:
    """A new subgraph: its place in the file, and its inputs and outputs that are the loop's variables."""

    index: int
    inputs: list[int]
    outputs: list[int]


def _add_condition(model: Any, variables: _Variables, count: int) -> _Graph:
    """Add the graph that says whether tiles are left."""
    index, graph = new_graph(model, "tiles_left")
    inputs = variables.add_to(graph)
    limit = add_constant(model, graph, np.array([count * _RANK], np.int32), "tiles")
    left = add_tensor(graph, (1,), "left", schema().TensorType.BOOL)
    graph.inputs, graph.outputs = inputs, [left]
    graph.operators = [operator(model, "LESS", [inputs[0], limit], [left])]
    return _Graph(index, inputs, inputs)


def _add_body(model: Any, variables: _Variables, grid: Grid) -> _Graph:
    """Add the graph that runs one tile."""
    index, graph = new_graph(model, "tile")
    inputs = variables.add_to(graph)
    tile = _Tile(model, graph, inputs[0])
    whole = {output: inputs[2 + i] for i, output in enumerate(grid.segment.outputs)}
    places: dict[int, int] = {}
    written: dict[int, int] = {}
    source, begins = inputs[1], grid.stages[0].begins()
    for stage, following in zip_longest(grid.stages, grid.stages[1:]):
        shape = stage.shape(stage.stage.source, shape_of(graph.tensors[source]))
        places[stage.stage.source] = tile.slice(source, begins, shape)
        for one in stage.stage.operators:
            op = model.subgraphs[0].operators[one.place]
            graph.operators.append(copy_operator(model, graph, op, places, stage))
            if one.made in whole:
                written[one.made] = tile.write(stage, one.made, places[one.made], whole[one.made])
        if following is not None:
            source = places[following.stage.source]
            begins = stage.read_begins(stage.stage.outputs.index(following.stage.source))
    step = add_constant(model, graph, np.array([_RANK], np.int32), "step")
    count = add_tensor(graph, (1,), "next_tile")
    graph.operators.append(operator(model, "ADD", [inputs[0], step], [count]))
    graph.inputs = inputs
    graph.outputs = [count, inputs[1], *(written[output] for output in grid.segment.outputs)]
    return _Graph(index, inputs, graph.outputs)


@dataclass
class _Tile:
    """The graph of one tile while its operators are added."""

    model: Any
    graph: Any
    counter: int
    sizes: dict[tuple[int, ...], int] = field(default_factory=dict)
    tables: dict[tuple[tuple[int, ...], ...], int] = field(default_factory=dict)

    def write(self, stage: TiledStage, output: int, made: int, whole: int) -> int:
        """Write what is right of an output into its whole map; returns the map."""
        which = stage.stage.outputs.index(output)
        shape = shape_of(self.graph.tensors[whole])
        part = self.slice(made, stage.read_begins(which), stage.part_shape(which, shape[3]))
        after = add_tensor(self.graph, shape, "map", like=self.graph.tensors[whole])
        place = self._look_up(stage.write_begins(which))
        self.graph.operators.append(operator(self.model, "DYNAMIC_UPDATE_SLICE", [whole, part, place], [after]))
        return after

    def slice(self, tensor: int, begins: Places, shape: tuple[int, ...]) -> int:
        """Slice a tile's part out of a tensor; the tensor itself where that is all of it."""
        if shape == shape_of(self.graph.tensors[tensor]):
            return tensor
        made = add_tensor(self.graph, shape, "slice", like=self.graph.tensors[tensor])
        inputs = [tensor, self._look_up(begins), self._size(shape)]
        self.graph.operators.append(operator(self.model, "SLICE", inputs, [made], version=2))
        return made

    def _look_up(self, begins: Places) -> int:
        """Read this tile's row of a table; a column that never changes is no table but a constant."""
        if len(set(begins)) == 1:
            return self._size(begins[0])
        key = tuple(begins)
        if key not in self.tables:
            table = add_constant(self.model, self.graph, np.array(begins, np.int32).reshape(-1), "places")
            self.tables[key] = add_tensor(self.graph, (_RANK,), "place")
            inputs = [table, self.counter, self._size((_RANK,))]
            self.graph.operators.append(operator(self.model, "SLICE", inputs, [self.tables[key]], version=2))
        return self.tables[key]

    def _size(self, values: tuple[int, ...]) -> int:
        if values not in self.sizes:
            self.sizes[values] = add_constant(self.model, self.graph, np.array(values, np.int32), "numbers")
        return self.sizes[values]
