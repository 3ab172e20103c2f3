from __future__ import annotations

import pytest
import torch
from torch import nn

from sapool.export import randomize_norms
from sapool.layers import SelfAttentivePool2d
from sapool.passes import apply_passes
from tests.conftest import PooledNet, images


@pytest.mark.parametrize("heads", [5, 8, 10])
@pytest.mark.parametrize("max_keys", [None, 6])
def test_it_is_the_same_function(heads: int, max_keys: int | None) -> None:
    torch.manual_seed(heads)
    pool = SelfAttentivePool2d(2 * heads, 2, num_heads=heads, patch_size=2, max_keys=max_keys)
    model = randomize_norms(PooledNet(pool, 2 * heads)).eval()
    for parameter in pool.attention.parameters():
        nn.init.normal_(parameter, std=0.5)
    expected = model(images())
    assert apply_passes(model, images(1), ["split_heads"]) == ("split_heads",)
    torch.testing.assert_close(model(images()), expected, atol=1e-5, rtol=1e-5)
    assert apply_passes(model, images(1), ["split_heads", "merged_attention"]) == ()


@pytest.mark.parametrize("heads", [4, 16])
def test_few_heads_and_more_than_can_be_joined_are_left(heads: int) -> None:
    model = PooledNet(SelfAttentivePool2d(16, 2, num_heads=heads, patch_size=2), 16).eval()
    assert apply_passes(model, images(1), ["split_heads"]) == ()
