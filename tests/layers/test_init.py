from __future__ import annotations

import pytest
import torch
from torch import nn

import sapool
from sapool.layers import POOLS, create_pool, list_pools


@pytest.mark.parametrize("name", list_pools())
def test_every_pool_is_built_by_name_and_halves_the_map(name: str) -> None:
    pool = create_pool(name, 6, 2)
    x = torch.randn(2, 6, 9, 8)
    assert isinstance(pool, POOLS[name])
    assert pool(x).shape == nn.MaxPool2d(2)(x).shape


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown pooling 'self_atentive': did you mean self_attentive\?"):
        create_pool("self_atentive", 4, 2)
    with pytest.raises(ValueError, match="unknown pooling 'zzz': choose from attention_strided, avg, blur"):
        create_pool("zzz", 4, 2)


def test_public_names_are_the_layers() -> None:
    assert sapool.list_pools() == list_pools()
    assert sapool.create_pool is create_pool
