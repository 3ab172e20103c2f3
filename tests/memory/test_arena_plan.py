from __future__ import annotations

import pytest

from sapool.memory.arena_plan import plan_arena
from sapool.memory.lifetimes import buffers_of
from sapool.memory.planners import greedy_offsets, head_of, lower_bound
from sapool.tflite import Graph
from tests.graphs import make_operator, make_tensor
from tests.memory.simulated import Machine, random_graph


@pytest.mark.parametrize("seed", range(40))
def test_a_plan_keeps_every_value_and_is_never_above_the_greedy_one(seed: int) -> None:
    graph = random_graph(1000 + seed, 20)
    buffers = buffers_of(graph)
    heads = {}
    for sharing in (False, True):
        plan = plan_arena(graph, sharing=sharing, steps=50)
        Machine(graph, plan).run()
        heads[sharing] = head_of(buffers, plan)
    assert heads[True] <= heads[False] <= head_of(buffers, greedy_offsets(buffers))
    assert heads[False] >= lower_bound(buffers)


def test_sharing_goes_below_the_lower_bound_of_plans_without() -> None:
    sides = ((1, 16, 16), (1, 256, 256), (1, 256, 256), (1, 16, 16))
    tensors = tuple(make_tensor(str(i), shape) for i, shape in enumerate(sides))
    kinds = ("BATCH_MATMUL", "SOFTMAX", "BATCH_MATMUL")
    operators = tuple(make_operator(kind, (i,), (i + 1,)) for i, kind in enumerate(kinds))
    graph = Graph(tensors, operators, (0,), (3,))
    buffers = buffers_of(graph)
    assert head_of(buffers, plan_arena(graph, sharing=False)) == lower_bound(buffers) == 2 * 256 * 256
    assert head_of(buffers, plan_arena(graph)) == 256 * 256 + 256


def test_control_flow_is_refused() -> None:
    one = random_graph(0)
    graph = Graph(one.tensors, one.operators, one.inputs, one.outputs, subgraphs=(one,))
    with pytest.raises(ValueError, match="must have no control flow, got 1 graphs"):
        plan_arena(graph)
