from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sapool.layers.gaussian import GaussianPool2d
from tests.layers.contract import (
    CASES,
    Region,
    check_gradient,
    check_graphs,
    check_half,
    pool_loops,
)
from tests.layers.oracle import randomize


def make(*args: Any, **kwargs: Any) -> GaussianPool2d:
    torch.manual_seed(0)
    pool = GaussianPool2d(*args, **kwargs)
    randomize(pool)
    return pool


def moments(x: Tensor, pool: GaussianPool2d) -> tuple[Tensor, Tensor]:
    """The windows' means and clamped standard deviations, in loops."""

    def deviation(region: Region) -> Tensor:
        return region.padded.var(2, correction=0).clamp(min=1e-6).sqrt()

    return pool_loops(x, pool.window, lambda region: region.padded.mean(2)), pool_loops(x, pool.window, deviation)


def norm(layer: nn.Module | None, x: Tensor, training: bool) -> Tensor:
    """BatchNorm of (N, C), by its formula."""
    assert isinstance(layer, nn.BatchNorm2d)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    mean, var = (x.mean(0), x.var(0, correction=0)) if training else (layer.running_mean, layer.running_var)
    return (x - mean) / (var + layer.eps).sqrt() * layer.weight + layer.bias


def linear(layer: nn.Module | None, x: Tensor) -> Tensor:
    assert isinstance(layer, nn.Conv2d)
    return x @ layer.weight[:, :, 0, 0].T + (0 if layer.bias is None else layer.bias)


def strengths(x: Tensor, pool: GaussianPool2d, training: bool) -> tuple[Tensor, Tensor | None]:
    """M and S, (N, C, 1, 1)."""
    hidden = norm(pool.hidden_norm, linear(pool.hidden, x.mean((2, 3))), training).clamp(min=0)
    mean = norm(pool.mean_norm, linear(pool.mean, hidden), training)[..., None, None]
    if pool.spread is None:
        return mean, None
    return mean, torch.sigmoid(norm(pool.spread_norm, linear(pool.spread, hidden), training))[..., None, None]


@pytest.mark.parametrize(("kernel", "stride", "padding", "ceil", "size"), CASES)
def test_equals_the_formula_in_eval(kernel: Any, stride: Any, padding: Any, ceil: bool, size: tuple[int, int]) -> None:
    pool = make(4, kernel, stride, padding, ceil).double().eval()
    x = torch.randn(2, 4, *size, dtype=torch.float64) + 3
    mean, sigma = moments(x, pool)
    expected = mean + F.softplus(strengths(x, pool, False)[0]) * sigma
    torch.testing.assert_close(pool(x), expected, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize(("stochasticity", "spread"), [("HWCN", (3, 4, 3, 4)), ("CN", (3, 4, 1, 1)), (None, None)])
def test_equals_the_formula_in_training(stochasticity: Any, spread: tuple[int, ...] | None) -> None:
    pool = make(4, 3, 2, 1, stochasticity=stochasticity).double()
    x = torch.randn(3, 4, 6, 7, dtype=torch.float64)
    mean, sigma = moments(x, pool)
    strength, share = strengths(x, pool, True)
    torch.manual_seed(7)
    found = pool(x)
    if spread is not None:
        assert share is not None
        torch.manual_seed(7)
        strength = strength + share * torch.randn(spread, dtype=torch.float64)
    torch.testing.assert_close(found, mean + F.softplus(strength) * sigma, atol=1e-11, rtol=1e-11)


def test_deviation_survives_a_large_mean() -> None:
    torch.manual_seed(0)
    pool = GaussianPool2d(2, 4).eval()
    # M = 0 whatever the map, so that only the deviation shows.
    nn.init.zeros_(pool.mean_norm.weight)
    x = torch.randn(2, 2, 16, 16) + 1e4
    mean, sigma = moments(x.double(), pool)
    found = (pool(x).double() - mean) / math.log(2)
    # float32 has steps of 1e-3 at 1e4; E[x^2] - E[x]^2 would have steps of 8 in the variance.
    torch.testing.assert_close(found, sigma, atol=5e-3, rtol=0)
    assert 0.5 < sigma.mean() < 1.5


def test_a_constant_map_has_the_least_deviation() -> None:
    pool = GaussianPool2d(2, 2).eval()
    x = torch.full((1, 2, 4, 4), 3.0, requires_grad=True)
    y = pool(x)
    strength = F.softplus(strengths(x.detach(), pool, False)[0])
    torch.testing.assert_close(y.detach(), (3 + strength * 1e-3).expand(1, 2, 2, 2))
    y.sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_hidden_layer_has_at_least_one_channel() -> None:
    assert GaussianPool2d(1, 2).hidden.out_channels == 1
    assert GaussianPool2d(9, 2).hidden.out_channels == 4
    assert GaussianPool2d(9, 2, reduction=3).hidden.out_channels == 3


def test_edges_in_graphs_and_half_precision() -> None:
    pool = make(4, 3, 2, 1, True)
    check_graphs(pool)
    check_half(pool, 1.0)
    # Squares are over half's largest number.
    check_half(pool.eval(), 1000.0)


def test_without_noise_there_is_nothing_that_noise_would_train() -> None:
    pool = GaussianPool2d(4, 3, 2, stochasticity=None)
    assert pool.spread is None
    assert pool.spread_norm is None
    pool(torch.randn(4, 4, 9, 9)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in pool.parameters())


@pytest.mark.parametrize("training", [False, True])
def test_gradients_are_right(training: bool) -> None:
    pool = make(3, 3, 2, 1, True, stochasticity=None)
    check_gradient(pool.train(training), size=(4, 5), batch=3)


def test_a_batch_of_one_is_refused_in_training_only() -> None:
    pool = make(4, 2)
    with pytest.raises(ValueError, match=r"batch must be at least 2 in training.*one value a channel per image, got 1"):
        pool(torch.randn(1, 4, 8, 8))
    assert pool.eval()(torch.randn(1, 4, 8, 8)).shape == (1, 4, 4, 4)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"stochasticity": "NC"}, r"stochasticity must be one of \('HWCN', 'CN', None\), got 'NC'"),
        ({"reduction": 0}, "reduction must be at least 1, got 0"),
        ({"padding": 2}, "padding must be 0 to kernel_size / 2, got 2"),
    ],
)
def test_bad_arguments_name_the_rule_and_the_value(kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        GaussianPool2d(4, 2, **kwargs)
