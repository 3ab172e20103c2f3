"""A segment as one loop over its tiles: each operator is in the file, and in the arena's tail, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np

from sapool.passes.tiling.body import Grid, Places, TiledStage, add_numbers, add_part, copy_operator
from sapool.passes.tiling.shared import Place, share_places
from sapool.tflite import Graph, Operator, Tensor
from sapool.tflite.edit import make_operator

# Places are (N, H, W, C); the loop's counter counts numbers of the tables, so that it can be used as it is.
_RANK = 4


def run_in_loops(main: Graph, grids: Sequence[Grid]) -> None:
    """Rewrite a main graph so that each of several segments runs in a WHILE loop, one tile an iteration.

    Every tile slices its window out of the source, at a place that it reads from a table, runs the operators on it and
    writes its part of the outputs into whole maps (DYNAMIC_UPDATE_SLICE). The source and the outputs are variables of
    the loop; each has one place in the arena for all its copies.

    Args:
        main: changed in place; without control flow, and no offsets given yet.
        grids: the segments and their tiles, in execution order; they share no operator.
    """
    shared: dict[int, set[Place]] = {}
    for grid in reversed(grids):  # from the back, so that the places of the operators before stay what they were
        variables = _Variables.add(main, grid)
        condition = _add_condition(main, variables, grid.count)
        body = _add_body(main, variables, grid)
        made = {"condSubgraphIndex": condition.index, "bodySubgraphIndex": body.index}
        loop = make_operator("WHILE", variables.given, variables.made, **made)
        before, after = main.operators[: grid.segment.first], main.operators[grid.segment.last + 1 :]
        main.set_operators([*before, *variables.fills, loop, *after])
        for i, tensor in enumerate((grid.segment.source, *grid.segment.outputs), start=1):
            copies = shared.setdefault(tensor, set())
            copies |= {(0, variables.given[i]), (0, variables.made[i])}
            for graph in (condition, body):
                copies |= {(graph.index, graph.inputs[i]), (graph.index, graph.outputs[i])}
    share_places(main, list(shared.values()))


@dataclass
class _Variables:
    """What the loop carries: its counter, the source, then the outputs.

    Attributes:
        like: a tensor of the same shape, type and quantisation.
        given: the tensors of the main graph that go in.
        made: those that come out.
        fills: operators that make the empty maps.
    """

    like: list[Tensor]
    given: list[int]
    made: list[int]
    fills: list[Operator] = field(default_factory=list)

    @classmethod
    def add(cls, main: Graph, grid: Grid) -> _Variables:
        """Add to the main graph what goes into the loop and comes out of it."""
        segment = grid.segment
        source = main.tensors[segment.source]
        counter = main.add_integers([0], "first_tile")
        last = add_numbers(main, (1,), "last_tile")
        through = add_part(main, source, source.shape, "source_behind_tiles")
        variables = cls([main.tensors[last], source], [counter, segment.source], [last, through])
        for output in segment.outputs:
            variables._add_output(main, output)
        return variables

    def _add_output(self, main: Graph, output: int) -> None:
        tensor = main.tensors[output]
        sides = main.add_integers(tensor.shape, "map_shape")
        nothing = main.add_constant(np.zeros((), tensor.dtype), "nothing", tensor.quantization)
        empty = add_part(main, tensor, tensor.shape, "empty_map")
        self.fills.append(make_operator("FILL", [sides, nothing], [empty], version=3))
        self.like.append(tensor)
        self.given.append(empty)
        self.made.append(output)

    def add_to(self, graph: Graph) -> list[int]:
        """Add the variables to another graph as its inputs."""
        return [add_part(graph, like, like.shape, f"variable_{i}") for i, like in enumerate(self.like)]


@dataclass(frozen=True)
class _Graph:
    """A new subgraph: its place in the file, and its inputs and outputs that are the loop's variables."""

    index: int
    inputs: list[int]
    outputs: list[int]


def _add_condition(main: Graph, variables: _Variables, count: int) -> _Graph:
    """Add the graph that says whether tiles are left."""
    graph = Graph(name="tiles_left")
    main.subgraphs.append(graph)
    inputs = variables.add_to(graph)
    limit = graph.add_integers([count * _RANK], "tiles")
    left = add_numbers(graph, (1,), "left", "bool")
    graph.set_inputs(inputs)
    graph.set_outputs([left])
    graph.set_operators([make_operator("LESS", [inputs[0], limit], [left])])
    return _Graph(len(main.subgraphs), inputs, inputs)


def _add_body(main: Graph, variables: _Variables, grid: Grid) -> _Graph:
    """Add the graph that runs one tile."""
    graph = Graph(name="tile")
    main.subgraphs.append(graph)
    inputs = variables.add_to(graph)
    tile = _Tile(graph, inputs[0])
    whole = {output: inputs[2 + i] for i, output in enumerate(grid.segment.outputs)}
    places: dict[int, int] = {}
    written: dict[int, int] = {}
    source, begins = inputs[1], grid.stages[0].begins()
    for stage, following in zip_longest(grid.stages, grid.stages[1:]):
        shape = stage.shape(stage.stage.source, graph.tensors[source].shape)
        places[stage.stage.source] = tile.slice(source, begins, shape)
        for one in stage.stage.operators:
            tile.operators.append(copy_operator(main, graph, main.operators[one.place], places, stage))
            if one.made in whole:
                written[one.made] = tile.write(stage, one.made, places[one.made], whole[one.made])
        if following is not None:
            source = places[following.stage.source]
            begins = stage.read_begins(stage.stage.outputs.index(following.stage.source))
    step = graph.add_integers([_RANK], "step")
    count = add_numbers(graph, (1,), "next_tile")
    graph.set_operators([*tile.operators, make_operator("ADD", [inputs[0], step], [count])])
    outputs = [count, inputs[1], *(written[output] for output in grid.segment.outputs)]
    graph.set_inputs(inputs)
    graph.set_outputs(outputs)
    return _Graph(len(main.subgraphs), inputs, outputs)


@dataclass
class _Tile:
    """The graph of one tile while its operators are gathered."""

    graph: Graph
    counter: int
    operators: list[Operator] = field(default_factory=list)
    sizes: dict[tuple[int, ...], int] = field(default_factory=dict)
    tables: dict[tuple[tuple[int, ...], ...], int] = field(default_factory=dict)

    def write(self, stage: TiledStage, output: int, made: int, whole: int) -> int:
        """Write what is right of an output into its whole map; returns the map."""
        which = stage.stage.outputs.index(output)
        shape = self.graph.tensors[whole].shape
        part = self.slice(made, stage.read_begins(which), stage.part_shape(which, shape[3]))
        after = self.graph.add_like(whole, shape, "map")
        place = self._look_up(stage.write_begins(which))
        self.operators.append(make_operator("DYNAMIC_UPDATE_SLICE", [whole, part, place], [after]))
        return after

    def slice(self, tensor: int, begins: Places, shape: tuple[int, ...]) -> int:
        """Slice a tile's part out of a tensor; the tensor itself where that is all of it."""
        if shape == self.graph.tensors[tensor].shape:
            return tensor
        made = self.graph.add_like(tensor, shape, "slice")
        inputs = [tensor, self._look_up(begins), self._size(shape)]
        self.operators.append(make_operator("SLICE", inputs, [made], version=2))
        return made

    def _look_up(self, begins: Places) -> int:
        """Read this tile's row of a table; a column that never changes is no table but a constant."""
        if len(set(begins)) == 1:
            return self._size(begins[0])
        key = tuple(begins)
        if key not in self.tables:
            table = self.graph.add_integers([n for begin in begins for n in begin], "places")
            self.tables[key] = add_numbers(self.graph, (_RANK,), "place")
            inputs = [table, self.counter, self._size((_RANK,))]
            self.operators.append(make_operator("SLICE", inputs, [self.tables[key]], version=2))
        return self.tables[key]

    def _size(self, values: tuple[int, ...]) -> int:
        if values not in self.sizes:
            self.sizes[values] = self.graph.add_integers(values, "numbers")
        return self.sizes[values]
