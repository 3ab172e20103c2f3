from __future__ import annotations

from typing import Any

import pytest
import torch.nn.functional as F

from tests.predict.lowering.lowered import Calls, kinds, lowered


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (F.silu, ["LOGISTIC", "MUL"]),
        (F.hardsigmoid, ["MUL"]),
        (lambda x: 0 + x * 1, []),
        (lambda x: F.softmax(x, 1), ["SOFTMAX"]),
        (lambda x: F.softmax(x, 2), ["TRANSPOSE", "SOFTMAX", "TRANSPOSE"]),
        (lambda x: x.clamp(0, 6), []),
        (lambda x: x.clamp(-1, 1), []),  # RELU_N1_TO_1, inside the convolution
        (lambda x: x.clamp(-2, 3), ["MAXIMUM", "MINIMUM"]),
    ],
)
def test_calls_become_the_operators_that_the_converter_writes(function: Any, expected: list[str]) -> None:
    assert kinds(lowered(Calls(function))) == ["CONV_2D", *expected]


def test_a_product_of_two_computed_matrices_has_its_rows_and_columns() -> None:
    graph = lowered(Calls(lambda x: x.flatten(2) @ x.flatten(2).transpose(1, 2)))
    (product,) = (op for op in graph.operators if op.kind == "BATCH_MATMUL")
    assert graph.tensors[product.outputs[0]].shape == (1, 8, 8)
