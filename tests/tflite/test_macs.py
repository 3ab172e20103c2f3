"""Multiply-accumulates against loops that count them one at a time."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from sapool.tflite import Graph, Options, count_macs, macs_of, read_graph
from tests.graphs import make_operator, make_tensor
from tests.memory.control_flow import control_flow
from tests.memory.handmade import build


def counted(*shapes: tuple[int, ...], kind: str, options: dict[str, bool] | None = None) -> int:
    """The count of one operator; the last shape is its output's."""
    tensors = [make_tensor(f"t{place}", shape) for place, shape in enumerate(shapes)]
    last = len(shapes) - 1
    graph = Graph(tensors, [make_operator(kind, range(last), [last], options)], [0], [last])
    assert count_macs(graph) == macs_of(graph, graph.operators[0])
    return count_macs(graph)


def loops(*sides: int) -> int:
    return sum(1 for _ in itertools.product(*(range(side) for side in sides)))


def test_a_convolution_multiplies_each_tap_of_each_window() -> None:
    assert counted((1, 7, 5, 3), (4, 3, 2, 3), (1, 5, 4, 4), kind="CONV_2D") == loops(5, 4, 4, 3, 2, 3)


def test_a_grouped_convolution_reads_its_own_channels_alone() -> None:
    assert counted((1, 4, 4, 6), (4, 1, 1, 3), (1, 4, 4, 4), kind="CONV_2D") == loops(4, 4, 4, 3)


def test_a_depthwise_convolution_reads_one_channel_a_filter() -> None:
    assert counted((1, 6, 6, 4), (1, 3, 3, 8), (1, 4, 4, 8), kind="DEPTHWISE_CONV_2D") == loops(4, 4, 8, 3, 3)


def test_a_fully_connected_layer_is_a_matrix() -> None:
    assert counted((2, 10), (3, 10), (2, 3), kind="FULLY_CONNECTED") == loops(2, 3, 10)


def test_a_product_of_matrices_either_way_round() -> None:
    plain = np.ones((2, 4, 6)) @ np.ones((2, 6, 5))
    assert counted((2, 4, 6), (2, 6, 5), plain.shape, kind="BATCH_MATMUL") == plain.sum()
    flipped = counted((2, 6, 4), (2, 6, 5), plain.shape, kind="BATCH_MATMUL", options={"adjX": True})
    assert flipped == plain.sum()


def test_what_only_adds_or_picks_is_not_counted() -> None:
    assert counted((1, 4, 4, 2), (1, 4, 4, 2), (1, 4, 4, 2), kind="ADD") == 0
    assert counted((1, 4, 4, 2), (1, 2, 2, 2), kind="MAX_POOL_2D") == 0


def looped(first: int, limit: int, step: int) -> Graph:
    """``for i in range(first, limit, step)``: one fully connected layer of 3 x 3."""
    body = Graph(inputs=[0, 1], outputs=[3, 4])
    body.add_tensor(make_tensor("i", (1,), "int32"))
    body.add_tensor(make_tensor("x", (1, 3)))
    body.add_integers([step], "step")
    body.add_tensor(make_tensor("next", (1,), "int32"))
    body.add_tensor(make_tensor("y", (1, 3)))
    body.add_constant(np.ones((3, 3), np.int8), "weights")
    body.set_operators([make_operator("ADD", [0, 2], [3]), make_operator("FULLY_CONNECTED", [1, 5], [4])])
    condition = Graph(inputs=[0, 1], outputs=[3])
    condition.add_tensor(make_tensor("i", (1,), "int32"))
    condition.add_tensor(make_tensor("x", (1, 3)))
    condition.add_integers([limit], "limit")
    condition.add_tensor(make_tensor("more", (1,), "bool"))
    condition.set_operators([make_operator("LESS", [0, 2], [3])])
    main = Graph(inputs=[0], outputs=[3])
    main.add_tensor(make_tensor("x", (1, 3)))
    main.add_integers([first], "first")
    main.add_tensor(make_tensor("last", (1,), "int32"))
    main.add_tensor(make_tensor("y", (1, 3)))
    loop = make_operator("WHILE", [1, 0], [2, 3])
    main.set_operators([replace(loop, options=Options("WhileOptions", condSubgraphIndex=1, bodySubgraphIndex=2))])
    main.subgraphs = [condition, body]
    return main


def test_a_loop_counts_as_often_as_it_runs() -> None:
    for first, limit, step in ((0, 4, 1), (1, 8, 3), (5, 5, 1)):
        assert count_macs(looped(first, limit, step)) == len(range(first, limit, step)) * 9


def test_control_flow_without_products_has_none() -> None:
    for graphs in control_flow().values():
        assert count_macs(read_graph(build(*graphs))) == 0
