from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.predict.lowering.lowered import Calls, kinds, lowered


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x.mean((2, 3)), ["MEAN"]),
        (lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1), ["MEAN"]),
        (lambda x: F.max_pool2d(x, 3, 2, 1), ["PADV2", "MAX_POOL_2D"]),
        (lambda x: F.avg_pool2d(x, 2), ["AVERAGE_POOL_2D"]),
        (lambda x: F.adaptive_avg_pool2d(x, 4), ["AVERAGE_POOL_2D"]),
    ],
)
def test_pools_and_means_are_the_operators_that_the_converter_writes(function: Any, expected: list[str]) -> None:
    assert kinds(lowered(Calls(function))) == ["CONV_2D", *expected]


@pytest.mark.parametrize(
    ("side", "kernel", "stride", "padding"), [(16, 3, 2, 1), (15, 3, 2, 1), (16, 2, 2, 0), (17, 5, 3, 2)]
)
def test_a_convolutions_map_is_as_large_as_pytorchs(side: int, kernel: int, stride: int, padding: int) -> None:
    conv = nn.Conv2d(3, 8, kernel, stride, padding)
    graph = lowered(conv, (3, side, side))
    rows, columns = conv(torch.rand(1, 3, side, side)).shape[2:]
    assert graph.tensors[graph.outputs[0]].shape == (1, rows, columns, 8)
    assert kinds(graph)[-1] == "CONV_2D"


def test_depthwise_and_linear_layers_have_operators_of_their_own() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.Flatten(), nn.Linear(6 * 14 * 14, 5))
    graph = lowered(net)
    assert kinds(graph)[0] == "DEPTHWISE_CONV_2D"
    assert kinds(graph)[-1] == "FULLY_CONNECTED"
    assert graph.tensors[graph.outputs[0]].shape == (1, 5)
