"""The arena's head with the inputs counted as zero bytes: a camera or sensor driver often holds them anyway."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sapool.memory.arena_plan import plan_arena
from sapool.memory.lifetimes import buffers_of, fixed_offsets
from sapool.memory.offline import STEPS, Cluster, best_offsets
from sapool.memory.planners import greedy_offsets, head_of
from sapool.tflite import Constant, Graph

_Place = tuple[int, int]  # (graph, tensor)


def head_without_inputs(graph: Graph, *, steps: int = STEPS, seed: int = 0) -> int:
    """Return the bytes of the head, planned anew with the inputs' own tensors at zero bytes.

    What a loop carries keeps the one place that the file gives to all its copies; a loop's copies of an input are the
    input. It is a figure of papers, not what the runtime takes: its interpreter always holds the input in the arena.

    Args:
        graph: of :func:`sapool.tflite.read_graph`.
        steps: how many placements are tried at most.
        seed: of the search.
    """
    copies = _copies(graph)
    inputs = {(0, tensor) for tensor in graph.inputs}
    given = inputs.union(*(group for group in copies if group & inputs))
    free = _without(graph, given)
    buffers = buffers_of(free)
    present = head_of(buffers, greedy_offsets(buffers, fixed_offsets(free, buffers)))
    if not free.subgraphs:
        return min(present, head_of(buffers, plan_arena(free, steps=steps, seed=seed)))
    index = {(b.subgraph, b.tensor): i for i, b in enumerate(buffers) if b.tensor >= 0}
    clusters: list[Cluster] = [
        tuple((index[place], 0) for place in sorted(group) if place in index)
        for group in copies
        if any(place in index for place in group)
    ]
    return min(present, head_of(buffers, best_offsets(buffers, clusters, steps=steps, seed=seed)))


def _copies(graph: Graph) -> list[set[_Place]]:
    """Return the tensors that are one loop variable and that the file puts at one offset."""
    buffers = buffers_of(graph)
    offsets = {(buffers[i].subgraph, buffers[i].tensor): at for i, at in fixed_offsets(graph, buffers).items()}
    groups: list[set[_Place]] = []
    for places in _variables(graph):
        at = offsets.get(places[0])
        new = {place for place in places if at is not None and offsets.get(place) == at}
        touching = [group for group in groups if group & new]
        groups = [group for group in groups if not group & new]
        groups.append(new.union(*touching))
    return [group for group in groups if len(group) > 1]


def _variables(graph: Graph) -> Iterator[list[_Place]]:
    """Yield, for every variable of every loop, its tensors: given, made, and in the loop's own graphs."""
    graphs = graph.graphs
    for number, one in enumerate(graphs):
        for operator in one.operators:
            if operator.kind != "WHILE":
                continue
            for i, pair in enumerate(zip(operator.inputs, operator.outputs, strict=True)):
                inner = [(g, graphs[g].inputs[i]) for g in operator.called]
                body = operator.called[-1]
                yield [*((number, tensor) for tensor in pair), *inner, (body, graphs[body].outputs[i])]


def _without(graph: Graph, given: set[_Place]) -> Graph:
    """Return the graph with some tensors held outside the arena."""
    free = graph.copy()
    for number, tensor in given:
        one = free.graphs[number]
        one.change_tensor(tensor, constant=_elsewhere(one.tensors[tensor].bytes))
    return free


def _elsewhere(size: int) -> Constant:
    return Constant(lambda: np.zeros(size, np.uint8))
