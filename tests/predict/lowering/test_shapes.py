from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.predict.lowering.lowered import Calls, kinds, lowered


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x.permute(0, 2, 3, 1).reshape(1, 256, 8), ["RESHAPE"]),
        (lambda x: x.flatten(2), ["TRANSPOSE", "RESHAPE"]),
        (lambda x: torch.cat(x.chunk(2, 1), 1), ["SLICE", "SLICE", "QUANTIZE", "QUANTIZE", "CONCATENATION"]),
        (lambda x: F.interpolate(x, scale_factor=2), ["RESIZE_NEAREST_NEIGHBOR"]),
    ],
)
def test_calls_become_the_operators_that_the_converter_writes(function: Any, expected: list[str]) -> None:
    assert kinds(lowered(Calls(function))) == ["CONV_2D", *expected]


def test_no_concatenation_has_more_than_ten_inputs() -> None:
    graph = lowered(Calls(lambda x: torch.cat([x, *[F.relu(x) for _ in range(10)]], 1)))
    joins = [operator for operator in graph.operators if operator.kind == "CONCATENATION"]
    assert max(len(join.inputs) for join in joins) == 10
    assert len(joins) == 2


@pytest.mark.parametrize(
    ("function", "last"),
    [
        (lambda x: x[:, 2:5], True),
        (lambda x: x[:, :, ::2, 1:], True),
        (lambda x: x.split([3, 5], 1)[1], True),
        (lambda x: F.pad(x, (1, 2, 0, 1)), True),
        (lambda x: F.pixel_shuffle(x, 2), False),
        (lambda x: x.unsqueeze(1).squeeze(1), False),
        (lambda x: x.transpose(2, 3), False),
    ],
)
def test_maps_keep_pytorchs_size(function: Any, last: bool) -> None:
    graph = lowered(Calls(function), (3, 16, 12))
    n, c, h, w = function(torch.rand(1, 8, 16, 12)).shape
    held = graph.tensors[graph.outputs[0]].shape
    assert held == ((n, h, w, c) if last else (n, c, h, w))
