"""Products of computed matrices, carried out by the strides of their layer, and softmax."""

from __future__ import annotations

import numpy as np
import pytest

from sapool.firmware.rows import Step, UnsupportedError
from tests.firmware.random_networks import Maker
from tests.firmware.rows.build import arrays, integers, network, one_step, quantised, rows_read, steps_of

TOKENS, DEPTH = 16, 3
WAYS = ("plain", "by rows", "turned", "channels first", "weights")


def view(make: Maker, given: int, *shape: int) -> int:
    out = make.tensor(shape, make.graph.tensors[given].quantization)
    make.add("RESHAPE", (given,), (out,), "ReshapeOptions", newShape=shape)
    return out


def multiplied(way: str) -> Step:
    """Return the product of a map's pixels with themselves, the right operand given in several ways."""
    make, source = network((1, 4, 4, DEPTH), scale=0.05, zero=3)
    right, by_rows = view(make, source, TOKENS, DEPTH), True
    if way == "plain":
        right, by_rows = view(make, source, DEPTH, TOKENS), False
    if way == "turned":
        order = make.constant(np.array([1, 0], np.int32))
        turned = make.tensor((DEPTH, TOKENS), make.graph.tensors[source].quantization)
        make.add("TRANSPOSE", (right, order), (turned,), "TransposeOptions")
        right, by_rows = turned, False
    if way == "channels first":
        turned = make.tensor((1, DEPTH, 4, 4), make.graph.tensors[source].quantization)
        order = make.constant(np.array([0, 3, 1, 2], np.int32))
        make.add("TRANSPOSE", (source, order), (turned,), "TransposeOptions")
        right, by_rows = view(make, turned, DEPTH, TOKENS), False
    out = make.tensor((1, 4, 4, TOKENS), quantised(0.01, -4))
    if way == "weights":
        return one_step(make, "FULLY_CONNECTED", (source, right, -1), out, "FullyConnectedOptions")
    how = {"adjX": False, "adjY": by_rows}
    step = one_step(make, "BATCH_MATMUL", (source, right), out, "BatchMatMulOptions", **how)
    assert step.macs * step.tasks == TOKENS * TOKENS * DEPTH
    return step


@pytest.mark.parametrize("way", WAYS)
def test_strides_say_where_the_right_operand_s_values_lie(way: str) -> None:
    step = multiplied(way)
    lines, columns, depth, over_columns, over_depth = integers(step.layer())[:5]
    assert lines * step.tasks == TOKENS
    pixels = np.random.default_rng(0).integers(-128, 128, TOKENS * DEPTH)
    left = pixels.reshape(TOKENS, DEPTH)
    matrix = left.T if way != "plain" else pixels.reshape(DEPTH, TOKENS)
    made = [
        [sum(int(line[k] * pixels[c * over_columns + k * over_depth]) for k in range(depth)) for c in range(columns)]
        for line in left
    ]
    np.testing.assert_array_equal(made, left @ matrix)


@pytest.mark.parametrize("way", WAYS)
def test_a_product_needs_its_own_rows_and_all_of_the_other(way: str) -> None:
    step = multiplied(way)
    assert [high - low for low, high in rows_read(step.reads[0])] == [1] * step.tasks
    assert rows_read(step.reads[0])[-1][1] == 4
    assert rows_read(step.reads[1]) == [(0, 4)] * step.tasks
    assert step.reads[1].flat
    assert step.reads[1].whole


def test_the_factor_is_that_of_the_scales() -> None:
    a_zero, b_zero, out_zero, factor, shift, _ = integers(multiplied("by rows").layer())[5:]
    assert (a_zero, b_zero, out_zero) == (3, 3, -4)
    assert factor * 2.0 ** (-31 - shift) == pytest.approx(0.05 * 0.05 / 0.01, rel=1e-6)


@pytest.mark.parametrize(("bias", "activation", "said"), [(5, 0, "with a bias"), (0, 1, "with an activation")])
def test_computed_weights_take_no_bias_and_no_activation(bias: int, activation: int, said: str) -> None:
    make, source = network((1, 4, 4, DEPTH))
    right, biases = view(make, source, TOKENS, DEPTH), make.constant(np.full(TOKENS, bias, np.int32))
    out = make.tensor((1, 4, 4, TOKENS), quantised(0.01))
    how = {"fusedActivationFunction": activation}
    make.add("FULLY_CONNECTED", (source, right, biases), (out,), "FullyConnectedOptions", **how)
    with pytest.raises(UnsupportedError, match=said):
        steps_of(make, out)


def test_scores_of_queries_that_are_moved_whole_are_made_a_few_lines_at_a_time() -> None:
    make, source = network((1, 8, 8, DEPTH))
    queries = make.tensor((1, 8, 8, DEPTH), make.graph.tensors[source].quantization)
    make.add("TRANSPOSE", (source, make.constant(np.array([0, 2, 1, 3], np.int32))), (queries,), "TransposeOptions")
    flat = view(make, queries, 1, 1, 64, DEPTH)
    halves = make.tensor((1, 1, 64, 2 * DEPTH), make.graph.tensors[source].quantization)
    make.add("CONCATENATION", (flat, flat), (halves,), "ConcatenationOptions", axis=3)
    right = view(make, source, 32, 2 * DEPTH)
    out = make.tensor((1, 1, 64, 32), quantised(0.01))
    make.add("BATCH_MATMUL", (halves, right), (out,), "BatchMatMulOptions", adjX=False, adjY=True)
    step = steps_of(make, out).steps[-1]
    lines = integers(step.layer())[0]
    assert lines * step.tasks == 64
    assert lines <= 8


def test_a_left_operand_that_is_turned_is_refused() -> None:
    make, source = network((1, 4, 4, DEPTH))
    right = view(make, source, TOKENS, DEPTH)
    out = make.tensor((1, 4, 4, TOKENS), quantised(0.01))
    make.add("BATCH_MATMUL", (source, right), (out,), "BatchMatMulOptions", adjX=True, adjY=True)
    with pytest.raises(UnsupportedError, match="the left one not turned"):
        steps_of(make, out)


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_softmax_is_done_in_place_with_a_table_of_exponentials(beta: float) -> None:
    make, source = network((1, 4, 6, 5), scale=0.1)
    out = make.tensor((1, 4, 6, 5), quantised(1 / 256, -128))
    step = one_step(make, "SOFTMAX", (source,), out, "SoftmaxOptions", beta=beta)
    assert step.in_place == (0,)
    (table,) = arrays(step.layer())
    assert integers(step.layer()) == [6, 5, len(table)]
    real = np.exp(-np.arange(len(table)) * 0.1 * beta)
    np.testing.assert_allclose(table.astype(float) / 2**31, real, atol=1e-6)


def test_another_output_than_1_in_256_is_refused() -> None:
    make, source = network((1, 4, 6, 5))
    out = make.tensor((1, 4, 6, 5), quantised(1 / 128, -128))
    make.add("SOFTMAX", (source,), (out,), "SoftmaxOptions", beta=1.0)
    with pytest.raises(UnsupportedError, match="not quantised as 1/256"):
        steps_of(make, out)
