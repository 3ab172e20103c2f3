from __future__ import annotations

import copy

import torch
from torch import nn

from sapool.layers import GatedPool2d
from sapool.passes.network.constant_mask import spread_masks


def test_a_shared_mask_is_spread_and_the_outputs_stay() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(GatedPool2d(6, 2), GatedPool2d(6, 2, per_channel=True)).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(2, 6, 8, 8)
    expected = copy.deepcopy(model)(x)
    assert spread_masks(model, x) == 1
    assert [pool.omega.shape[0] for pool in model] == [6, 6]  # type: ignore[index]
    torch.testing.assert_close(model(x), expected, atol=1e-6, rtol=1e-6)
    assert spread_masks(model, x) == 0
