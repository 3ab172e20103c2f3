from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from sapool.export import randomize_norms
from sapool.layers import create_pool
from sapool.passes.network.fold_tiles import fold_tiles


@pytest.mark.parametrize("size", [(16, 16), (13, 18)])
@pytest.mark.parametrize(
    ("name", "side", "kwargs"),
    [
        ("space_to_depth", 2, {}),
        ("space_to_depth", 4, {}),
        ("space_to_depth", 4, {"conv_kernel_size": 1}),
        ("space_to_depth", 2, {"conv_kernel_size": 5}),
        ("haar", 2, {}),
        ("haar", 4, {"norm": False}),
        ("haar", 8, {}),
    ],
)
def test_tiles_fold_into_one_convolution(name: str, side: int, kwargs: dict[str, Any], size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    pool = randomize_norms(create_pool(name, 4, side, **kwargs)).double().eval()
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    model = nn.Sequential(copy.deepcopy(pool))
    assert fold_tiles(model, x) == 1
    assert [m.stride for m in model.modules() if isinstance(m, nn.Conv2d)] == [(side, side)]
    torch.testing.assert_close(model(x), pool(x), atol=1e-12, rtol=1e-12)
