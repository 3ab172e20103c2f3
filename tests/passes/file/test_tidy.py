from __future__ import annotations

import itertools

import numpy as np
import pytest

from sapool.passes.file.tidy import merged_turn, tidy_graph
from sapool.tflite import read_graph, write_graph
from tests.memory.handmade import Graph, Op, Tensor, build, constant, weights
from tests.passes.file.tidying import chain, rows, tidied
from tests.passes.running import kinds_of, run_tflm


@pytest.mark.slow
def test_an_exported_pool_keeps_one_turn_and_its_outputs(untidy: bytes) -> None:
    before, after = read_graph(untidy), read_graph(untidy)
    assert tidy_graph(after) > 0
    assert kinds_of(before)["TRANSPOSE"] == 3
    assert kinds_of(before)["RESHAPE"] == 5
    # The keys as a matrix, and the same turned: the right-hand sides of the two products.
    assert (kinds_of(after)["TRANSPOSE"], kinds_of(after)["RESHAPE"]) == (1, 1)
    (expected, arena), (got, smaller) = run_tflm(before), run_tflm(after)
    np.testing.assert_array_equal(got, expected)
    assert smaller.tail_bytes < arena.tail_bytes
    assert smaller.head_bytes <= arena.head_bytes
    assert tidy_graph(read_graph(write_graph(after))) == 0  # nothing is left to do


@pytest.mark.slow
def test_many_heads_take_one_split_and_their_outputs_stay(many_heads: bytes) -> None:
    before, after = read_graph(many_heads), read_graph(many_heads)
    tidy_graph(after)
    assert kinds_of(before)["SLICE"] == 8
    assert (kinds_of(after)["SLICE"], kinds_of(after)["SPLIT"]) == (0, 1)
    (expected, arena), (got, smaller) = run_tflm(before), run_tflm(after)
    np.testing.assert_array_equal(got, expected)
    assert smaller.total_bytes < arena.total_bytes


@pytest.mark.parametrize(
    ("shapes", "orders", "left"),
    [
        ([(1, 2, 3, 4), (1, 4, 2, 3), (1, 2, 3, 4)], [[0, 3, 1, 2], [0, 2, 3, 1]], {}),
        ([(1, 2, 3, 4), (1, 4, 2, 3), (1, 3, 4, 2)], [[0, 3, 1, 2], [0, 3, 1, 2]], {"TRANSPOSE": 1}),
        ([(1, 2, 1, 4), (1, 1, 2, 4)], [[0, 2, 1, 3]], {"RESHAPE": 1}),
        ([(1, 2, 3, 4), (1, 3, 2, 4)], [[0, 2, 1, 3]], {"TRANSPOSE": 1}),
    ],
)
def test_turns_that_cancel_or_move_nothing_go(
    shapes: list[tuple[int, ...]], orders: list[list[int]], left: dict[str, int]
) -> None:
    before, after, _ = tidied(chain(shapes, orders))
    found = {kind: n for kind, n in kinds_of(after).items() if kind != "LOGISTIC"}
    assert found == left
    np.testing.assert_array_equal(run_tflm(after)[0], run_tflm(before)[0])


@pytest.mark.parametrize("kind", ["MEAN", "SUM"])
@pytest.mark.parametrize(("order", "axes", "left"), [((0, 3, 1, 2), (2, -1), 0), ((0, 3, 2, 1), (3,), 1)])
def test_a_mean_needs_no_turn_unless_what_is_left_is_turned(
    kind: str, order: tuple[int, ...], axes: tuple[int, ...], left: int
) -> None:
    shape = (1, 2, 3, 4)
    turned = tuple(shape[i] for i in order)
    result = tuple(n for i, n in enumerate(turned) if i not in {axis % 4 for axis in axes})
    tensors = [Tensor(shape), constant(order), Tensor(turned), constant(axes), Tensor(result, scales=(0.7,), zero=3)]
    ops = [Op("TRANSPOSE", [0, 1], [2]), Op(kind, [2, 3], [4], ("ReducerOptions", {"keepDims": False}))]
    before, after, _ = tidied(Graph(tensors, ops, [0], [4]))
    assert kinds_of(after)["TRANSPOSE"] == left
    np.testing.assert_array_equal(run_tflm(after)[0], run_tflm(before)[0])


def test_a_turn_that_somebody_else_reads_stays() -> None:
    graph = chain([(1, 2, 3, 4), (1, 4, 2, 3), (1, 3, 4, 2)], [[0, 3, 1, 2], [0, 3, 1, 2]])
    graph.tensors.append(Tensor((1, 4, 2, 3), scales=(1 / 256,), zero=-128))
    graph.ops.append(Op("LOGISTIC", [2], [len(graph.tensors) - 1]))
    graph.outputs = [*graph.outputs, len(graph.tensors) - 1]
    _, after, _ = tidied(graph)
    assert kinds_of(after)["TRANSPOSE"] == 2


@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 2, 3, 4), (2, 1, 3, 1)])
def test_a_merged_turn_orders_the_bytes_alike(shape: tuple[int, ...]) -> None:
    values = np.arange(np.prod(shape)).reshape(shape)
    for order in itertools.permutations(range(len(shape))):
        merged, shorter = merged_turn(shape, order)
        turned = values.reshape(merged).transpose(shorter) if merged else values
        np.testing.assert_array_equal(turned.ravel(), values.transpose(order).ravel())


def test_constants_with_another_scale_are_not_equal() -> None:
    shape = (1, 2, 2, 3)
    other = weights(*shape)
    other.scales = (0.2,)
    ops = [Op("ADD", [0, 1], [3], ("AddOptions", {})), Op("ADD", [3, 2], [4], ("AddOptions", {}))]
    _, after, changed = tidied(
        Graph([Tensor(shape), weights(*shape), other, Tensor(shape), Tensor(shape)], ops, [0], [4])
    )
    assert (changed, len(after.tensors)) == (0, 5)


def test_a_model_with_a_plan_is_left_alone() -> None:
    graph = rows((1, 2, 3, 4))
    data = build(graph, offline=[-1] * len(graph.tensors))
    planned = read_graph(data)
    assert tidy_graph(planned) == 0
    assert write_graph(planned) == write_graph(read_graph(data))


def test_what_stands_beside_a_state_is_tidied() -> None:
    """The counters of an SVDF live in a variable tensor, which stays; the RESHAPEs behind it go."""
    filters = Tensor((2, 4), data=np.ones((2, 4), np.int8), scales=(0.1,))
    steps = Tensor((2, 3), "int16", np.ones((2, 3), np.int16), (0.1,))
    bias = Tensor((2,), "int32", np.zeros(2, np.int32), (0.05,))
    state = Tensor((1, 6), "int16", variable=True)
    maps = [Tensor(shape) for shape in ((1, 2), (2, 1), (1, 2))]
    tensors = [Tensor((1, 4)), filters, steps, bias, state, *maps, Tensor((1, 2), scales=(1 / 256,), zero=-128)]
    shapes = [("ReshapeOptions", {"newShape": list(tensors[made].shape)}) for made in (6, 7)]
    ops = [
        Op("SVDF", [0, 1, 2, 3, 4], [5], ("SVDFOptions", {"rank": 1})),
        Op("RESHAPE", [5], [6], shapes[0]),
        Op("RESHAPE", [6], [7], shapes[1]),
        Op("LOGISTIC", [7], [8]),
    ]
    before, after, changed = tidied(Graph(tensors, ops, [0], [8]))
    assert changed > 0
    assert kinds_of(after) == {"SVDF": 1, "LOGISTIC": 1}
    assert sum(tensor.variable for tensor in after.tensors) == 1
    np.testing.assert_array_equal(run_tflm(after, 4)[0], run_tflm(before, 4)[0])


def test_of_several_graphs_the_main_one_is_tidied_and_the_others_keep_what_they_use() -> None:
    other = rows((1, 24))
    other.tensors.append(Tensor((1, 500)))
    before, after, changed = tidied(rows((1, 2, 3, 4)), other)
    assert changed > 0
    assert [len(graph.operators) for graph in after.graphs] == [2, 4]
    assert len(after.subgraphs[0].tensors) == len(before.subgraphs[0].tensors) - 1
    np.testing.assert_array_equal(run_tflm(after)[0], run_tflm(before)[0])


def test_equal_constants_are_stored_once_and_unused_tensors_go() -> None:
    shape = (1, 2, 2, 3)
    graph = Graph(
        [Tensor(shape), weights(*shape), weights(*shape), Tensor(shape), Tensor(shape), Tensor((1, 500))],
        [Op("ADD", [0, 1], [3], ("AddOptions", {})), Op("ADD", [3, 2], [4], ("AddOptions", {}))],
        [0],
        [4],
    )
    before, after, changed = tidied(graph)
    assert changed == 3  # one constant shared; it and the unused tensor left out
    assert len(after.tensors) == 4
    assert len({id(tensor.constant) for tensor in after.tensors if tensor.constant}) == 1
    (expected, arena), (got, smaller) = run_tflm(before), run_tflm(after)
    np.testing.assert_array_equal(got, expected)
    assert smaller.head_bytes < arena.head_bytes  # the runtime gives even the unused one room
    assert smaller.tail_bytes < arena.tail_bytes
