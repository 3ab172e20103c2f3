from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from sapool.layers import create_pool
from sapool.passes.network.window_softmax import use_window_softmax
from tests.layers.oracle import randomize


@pytest.mark.parametrize(
    ("name", "window", "kwargs"),
    [
        ("soft", (2,), {}),
        ("soft", (3, 2), {}),
        ("lip", (4,), {}),
        ("lip_1x1", ((2, 3), (1, 2)), {}),
        ("self_attentive", (4,), {"window_norm": True, "patch_size": 2, "gain": 12.0}),
        ("self_attentive", (2,), {"window_norm": True, "patch_size": 1, "gate": "sigmoid"}),
    ],
)
def test_window_softmax_is_the_quotient(name: str, window: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    pool = create_pool(name, 4, *window, **kwargs).eval()
    randomize(pool)
    x = torch.randn(2, 4, 13, 18)
    model = nn.Sequential(copy.deepcopy(pool))
    assert use_window_softmax(model, x) == 1
    torch.testing.assert_close(model(x), pool(x), atol=1e-6, rtol=1e-5)


def test_window_softmax_gives_padding_less_weight_than_an_int8_step() -> None:
    pool = create_pool("soft", 4, 3, 2, 1).eval()
    x = torch.randn(2, 4, 13, 18)
    model = nn.Sequential(copy.deepcopy(pool))
    assert use_window_softmax(model, x[:1] - 1) == 1  # the second image's logits are none of those seen
    difference = (model(x) - pool(x)).abs()
    assert difference[..., 1:-1, 1:-1].max() < 1e-6
    assert 0 < difference.max() < x.abs().max() / 256
