from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sapool.layers import SelfAttentivePool1d, SelfAttentivePool2d, create_pool, distance_from_average


def test_average_pooling_is_at_no_distance() -> None:
    x = torch.randn(2, 4, 9, 8)
    assert distance_from_average(create_pool("avg", 4, 2), x) < 1e-6
    assert distance_from_average(nn.AvgPool2d(3, 2, 1), x) < 1e-6
    pool = SelfAttentivePool2d(4, 2, patch_size=1, window_norm=True, init="average")
    assert distance_from_average(pool, x) < 1e-6


def test_it_is_the_relative_euclidean_distance() -> None:
    x = torch.randn(2, 4, 8, 8)
    pooled, average = nn.MaxPool2d(2)(x), nn.AvgPool2d(2)(x)
    expected = float((pooled - average).norm() / average.norm())
    assert distance_from_average(create_pool("max", 4, 2), x) == pytest.approx(expected, rel=1e-5)
    assert distance_from_average(nn.MaxPool2d(2), x) == pytest.approx(expected, rel=1e-5)


def test_up_to_scale_forgives_a_factor_a_channel() -> None:
    pool = SelfAttentivePool2d(4, 2, init="average")  # un-normalised: exp(1/2) times the average
    x = torch.rand(2, 4, 8, 8)
    assert distance_from_average(pool, x) == pytest.approx(math.exp(0.5) - 1, rel=1e-5)
    assert distance_from_average(pool, x, up_to_scale=True) < 1e-6


def test_the_layer_keeps_its_mode_and_statistics() -> None:
    pool = SelfAttentivePool2d(4, 2).train()
    before = {k: v.clone() for k, v in pool.state_dict().items()}
    distance_from_average(pool, torch.rand(2, 4, 8, 8))
    assert pool.training
    assert all(torch.equal(v, before[k]) for k, v in pool.state_dict().items())


def test_what_is_no_pool_is_refused() -> None:
    with pytest.raises(ValueError, match="must be a pooling layer with a window, got ReLU"):
        distance_from_average(nn.ReLU(), torch.rand(1, 4, 8, 8))
    with pytest.raises(ValueError, match="average to zero"):
        distance_from_average(nn.MaxPool2d(2), torch.zeros(1, 4, 8, 8))
    with pytest.raises(ValueError, match=r"the pool gives \(1, 8, 4, 4\), average pooling \(1, 4, 4, 4\)"):
        distance_from_average(nn.Conv2d(4, 8, 2, 2), torch.rand(1, 4, 8, 8))


@pytest.mark.parametrize("name", ["lip", "self_attentive", "mixed_self_attentive"])
def test_borders_count_as_they_do_in_the_pool(name: str) -> None:
    kwargs = {} if name == "lip" else {"window_norm": True, "patch_size": 1, "init": "average"}
    x = torch.rand(2, 4, 9, 8)
    assert distance_from_average(create_pool(name, 4, 3, 2, 1, **kwargs), x) < 1e-6
    assert distance_from_average(nn.AvgPool2d(3, 2, 1, count_include_pad=False), x) < 1e-6


def test_sequences_and_mixed_modes() -> None:
    pool = SelfAttentivePool1d(4, 2, patch_size=1, window_norm=True, init="average").train()
    assert pool.embed_norm is not None
    pool.embed_norm.eval()
    assert distance_from_average(pool, torch.rand(2, 4, 16)) < 1e-6
    assert (pool.training, pool.embed_norm.training) == (True, False)
