from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from sapool import tflite
from sapool.memory import buffers_of, greedy_offsets, head_of, lower_bound
from sapool.memory.arena_plan import plan_arena
from sapool.passes.file.reorder import _beam, _Search, good_orders, reorder_operators
from sapool.tflite import read_graph, write_graph
from tests.graphs import make_operator, make_tensor, with_operators
from tests.memory.handmade import Graph, Op, Tensor, build
from tests.passes.running import run_tflm


def random_graph(seed: int, operators: int) -> tflite.Graph:
    """Operators that each read one to three of the tensors before, and write one or two."""
    rng = random.Random(seed)
    sizes, made, readable = [rng.randrange(1, 400)], [], [0]
    for _ in range(operators):
        inputs = tuple(rng.sample(readable, min(len(readable), rng.randrange(1, 4))))
        outputs = tuple(len(sizes) + k for k in range(rng.randrange(1, 3)))
        sizes += [rng.choice((1, 7, 32)) * rng.randrange(1, 60) for _ in outputs]
        readable += outputs
        made.append(make_operator(rng.choice(("CONV_2D", "MEAN")), inputs, outputs))
    tensors = tuple(make_tensor(f"t{i}", (1, size)) for i, size in enumerate(sizes))
    return tflite.Graph(tensors, tuple(made), (0,), (readable[-1],))


def in_order(graph: tflite.Graph, order: tuple[int, ...]) -> tflite.Graph:
    return with_operators(graph, *(graph.operators[i] for i in order))


def head(graph: tflite.Graph) -> int:
    buffers = buffers_of(graph)
    return head_of(buffers, greedy_offsets(buffers))


def planned_head(graph: tflite.Graph) -> int:
    return head_of(buffers_of(graph), plan_arena(graph, steps=0))


def is_topological(graph: tflite.Graph) -> bool:
    known = set(graph.inputs)
    for op in graph.operators:
        if not set(op.inputs) <= known:
            return False
        known |= set(op.outputs)
    return True


@pytest.mark.parametrize("seed", range(40))
def test_a_random_graph_stays_in_order_and_never_grows(seed: int) -> None:
    graph = random_graph(seed, operators=2 + seed)
    orders = good_orders(graph)
    assert orders[0] == tuple(range(len(graph.operators)))
    for order in orders:
        assert sorted(order) == list(orders[0])
        better = in_order(graph, order)
        assert is_topological(better)
        assert head(better) <= head(graph)
        assert planned_head(better) <= planned_head(graph)
    assert good_orders(graph) == orders  # the same every time


def test_some_random_graphs_shrink() -> None:
    graphs = [random_graph(seed, 12) for seed in range(20)]
    least = [min(head(in_order(graph, order)) for order in good_orders(graph)) for graph in graphs]
    saved = [1 - small / head(graph) for small, graph in zip(least, graphs, strict=True)]
    assert sum(share > 0 for share in saved) >= 10


@pytest.mark.parametrize("seed", range(20))
def test_the_search_finds_the_least_bytes_alive_of_all_orders(seed: int) -> None:
    graph = random_graph(seed, operators=6)
    orders = (in_order(graph, order) for order in itertools.permutations(range(6)))
    least = min(lower_bound(buffers_of(one)) for one in orders if is_topological(one))
    found = [lower_bound(buffers_of(in_order(graph, order))) for order in _beam(_Search.of(graph))]
    assert found[0] == least


def branches() -> Graph:
    """A large map that a long branch reads at once and a short one only at the end: that one should run first."""
    soft = {"scales": (1 / 256,), "zero": -128}
    shapes = [(1, 8, 8, 4), (1, 8, 8, 4), (1, 2, 2, 4), (1, 2, 2, 4), (1, 2, 2, 4), (1, 2, 2, 4), (1, 2, 2, 4)]
    tensors = [Tensor(shape, **soft) for shape in shapes]  # type: ignore[arg-type]
    tensors.append(Tensor((1, 8, 8, 4), **soft))  # type: ignore[arg-type]
    pool = ("Pool2DOptions", {"strideW": 4, "strideH": 4, "filterWidth": 4, "filterHeight": 4, "padding": 1})
    ops = [
        Op("LOGISTIC", [0], [1]),
        Op("LOGISTIC", [1], [7]),
        Op("MAX_POOL_2D", [7], [2], pool),
        Op("LOGISTIC", [2], [3]),
        Op("AVERAGE_POOL_2D", [0], [4], pool),
        Op("AVERAGE_POOL_2D", [1], [5], pool),
        Op("CONCATENATION", [3, 4, 5], [6], ("ConcatenationOptions", {"axis": 3})),
    ]
    tensors[6] = Tensor((1, 2, 2, 12), **soft)  # type: ignore[arg-type]
    return Graph(tensors, ops, [0], [6])


def test_a_model_keeps_every_bit_and_its_head_falls() -> None:
    data = build(branches())
    before, after = read_graph(data), read_graph(data)
    assert reorder_operators(after) == 1
    (expected, arena), (got, smaller) = run_tflm(before), run_tflm(after)
    np.testing.assert_array_equal(got, expected)
    assert smaller.head_bytes < arena.head_bytes
    assert smaller.tail_bytes == arena.tail_bytes
    assert reorder_operators(after) == 0


def test_a_model_with_a_plan_or_variables_is_left_alone() -> None:
    graph = branches()
    data = build(graph, offline=[-1] * len(graph.tensors))
    model = read_graph(data)
    assert reorder_operators(model) == 0
    assert write_graph(model) == write_graph(read_graph(data))
    graph.tensors.append(Tensor((1,), variable=True))
    assert reorder_operators(read_graph(build(graph))) == 0
