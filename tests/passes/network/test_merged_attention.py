from __future__ import annotations

import pytest
import torch
from torch import nn

from sapool.export import randomize_norms
from sapool.layers import SelfAttentivePool2d
from sapool.passes import apply_passes
from tests.conftest import PooledNet, images


@pytest.mark.parametrize("heads", [1, 2, 3, 4])
@pytest.mark.parametrize("max_keys", [None, 6])
def test_merged_attention_for_every_number_of_heads(heads: int, max_keys: int | None) -> None:
    torch.manual_seed(heads)
    pool = SelfAttentivePool2d(12, 2, num_heads=heads, patch_size=2, max_keys=max_keys)
    model = randomize_norms(PooledNet(pool, 12)).eval()
    for parameter in pool.attention.parameters():
        nn.init.normal_(parameter, std=0.5)
    expected = model(images())
    assert apply_passes(model, images(1), ["merged_attention"]) == ("merged_attention",)
    torch.testing.assert_close(model(images()), expected, atol=1e-5, rtol=1e-5)


def test_many_heads_stay_batched() -> None:
    model = PooledNet(SelfAttentivePool2d(8, 2, num_heads=8, patch_size=2)).eval()
    assert apply_passes(model, images(1), ["merged_attention"]) == ()
