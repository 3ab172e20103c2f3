from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sapool.base.tflm_limits import MOST_JOINED
from sapool.passes.file.query_chunks import chunk_queries
from sapool.passes.file.tidy import tidy_graph
from sapool.tflite import read_graph, write_graph
from tests.memory.handmade import Graph, Op, Tensor, build
from tests.passes.running import kinds_of, run_tflm

PROBABILITY: dict[str, Any] = {"scales": (1 / 256,), "zero": -128}


def attention(queries: int, keys: int, width: int = 4, batch: int = 1) -> Graph:
    """SOFTMAX(x x^T) of one tensor (batch, queries, width) with itself, times one like it; keys are its first rows."""
    tensors = [
        Tensor((batch, queries, width), scales=(0.02,)),
        Tensor((batch, queries, width), **PROBABILITY),
        Tensor((batch, keys, width), **PROBABILITY),
        Tensor((batch, queries, keys), scales=(0.05,)),
        Tensor((batch, queries, keys), **PROBABILITY),
        Tensor((batch, queries, width), scales=(0.01,)),
    ]
    ops = [
        Op("LOGISTIC", [0], [1]),
        Op("LOGISTIC", [0], [2]),
        Op("BATCH_MATMUL", [1, 2], [3], ("BatchMatMulOptions", {"adjY": True})),
        Op("SOFTMAX", [3], [4], ("SoftmaxOptions", {"beta": 1.0})),
        Op("BATCH_MATMUL", [4, 2], [5], ("BatchMatMulOptions", {"adjY": False})),
    ]
    return Graph(tensors, ops, [0], [5])


@pytest.mark.parametrize("planned", [False, True])
@pytest.mark.parametrize("queries", [64, 121])
def test_chunks_keep_every_bit_and_lower_the_arena(queries: int, planned: bool) -> None:
    data = build(attention(queries, queries))
    before, after = read_graph(data), read_graph(data)
    assert chunk_queries(after, planned=planned) == 1
    assert kinds_of(after)["SOFTMAX"] > 1
    assert kinds_of(after)["SPLIT"] == 1
    (expected, arena), (got, smaller) = run_tflm(before), run_tflm(after)
    np.testing.assert_array_equal(got, expected)
    assert len(np.unique(expected)) > 2
    assert smaller.total_bytes < arena.total_bytes
    assert all(len(op.inputs) <= MOST_JOINED for op in after.operators)
    assert chunk_queries(read_graph(write_graph(after))) == 0  # the best number is there


def test_chunks_that_cost_more_than_they_save_are_not_made() -> None:
    for graph in (attention(16, 16), attention(13, 13)):
        model = read_graph(build(graph))
        before = write_graph(model)
        assert chunk_queries(model) == 0
        assert write_graph(model) == before


def test_scores_that_are_not_rows_of_one_product_are_left_alone() -> None:
    batched = read_graph(build(attention(64, 64, batch=2)))
    assert chunk_queries(batched) == 0
    shown = attention(256, 256)
    shown.outputs = [5, 4]  # somebody wants the whole scores
    assert chunk_queries(read_graph(build(shown))) == 0
    turned = attention(256, 256)
    turned.tensors[0].shape = turned.tensors[1].shape = turned.tensors[2].shape = (1, 4, 256)
    turned.ops[2].options = ("BatchMatMulOptions", {"adjX": True, "adjY": False})
    turned.ops[4].options = ("BatchMatMulOptions", {"adjX": False, "adjY": True})
    assert chunk_queries(read_graph(build(turned))) == 0


@pytest.mark.slow
def test_an_exported_pool_keeps_its_outputs(untidy: bytes) -> None:
    before, after = read_graph(untidy), read_graph(untidy)
    tidy_graph(after)
    assert chunk_queries(after) == 2  # both heads
    (expected, arena), (got, smaller) = run_tflm(before), run_tflm(after)
    np.testing.assert_array_equal(got, expected)
    assert smaller.total_bytes < arena.total_bytes / 2
