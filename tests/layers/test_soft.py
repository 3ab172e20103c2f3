from __future__ import annotations

from typing import Any

import pytest
import torch

from sapool.layers.soft import SoftPool2d, softmax_average
from sapool.layers.window import Window
from tests.layers.contract import (
    CASES,
    Region,
    check_gradient,
    check_graphs,
    check_half,
    pool_loops,
)


def soft(region: Region) -> torch.Tensor:
    weight = region.pixels.exp()
    return (weight * region.pixels).sum(2) / weight.sum(2)


@pytest.mark.parametrize(("kernel", "stride", "padding", "ceil", "size"), CASES)
def test_equals_the_formula(kernel: Any, stride: Any, padding: Any, ceil: bool, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    pool = SoftPool2d(3, kernel, stride, padding, ceil)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(pool(x), pool_loops(x, pool.window, soft), atol=1e-12, rtol=1e-12)


def test_weights_can_be_another_maps() -> None:
    x, logits = torch.randn(2, 3, 7, 8), torch.randn(2, 1, 7, 8)
    window = Window((3, 3), (2, 2), (1, 1))
    weight = logits.exp()
    expected = window.average(x * weight) / window.average(weight)
    torch.testing.assert_close(softmax_average(x, logits, window), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("value", [-300.0, 0.0, 300.0])
def test_a_constant_map_stays(value: float) -> None:
    x = torch.full((1, 2, 7, 7), value)
    y = SoftPool2d(2, 3, 2, 1, True)(x)
    torch.testing.assert_close(y, torch.full_like(y, value))


def test_large_values_are_max_pooled_and_small_ones_averaged() -> None:
    torch.manual_seed(0)
    pool, x = SoftPool2d(2, 3, 2, 1), torch.randn(2, 2, 9, 9)
    torch.testing.assert_close(pool(x * 1e6) / 1e6, pool.window.maximum(x))
    inside = pool.window.average(x, count_include_pad=False)
    torch.testing.assert_close(pool(x * 1e-4) * 1e4, inside, atol=1e-3, rtol=1e-3)


def test_one_large_window_does_not_empty_the_others() -> None:
    x = torch.zeros(1, 1, 4, 4)
    x[..., :2, :2] = 500
    x[..., 2:, 2:] = torch.tensor([[-500.0, -501.0], [-502.0, -503.0]])
    y = SoftPool2d(1, 2)(x)
    torch.testing.assert_close(y, pool_loops(x.double() / 1, Window((2, 2), (2, 2)), _stable).float())


def _stable(region: Region) -> torch.Tensor:
    return (region.pixels.softmax(2) * region.pixels).sum(2)


def test_edges_in_graphs_and_half_precision() -> None:
    pool = SoftPool2d(3, 3, 2, 1, True)
    check_half(pool, 1.0)
    check_half(pool, 1000.0)
    check_graphs(pool)


@pytest.mark.parametrize(("padding", "ceil"), [(0, False), (1, True)])
def test_gradients_are_right(padding: int, ceil: bool) -> None:
    check_gradient(SoftPool2d(2, 3, 2, padding, ceil))


def test_bad_arguments_and_maps_are_refused() -> None:
    with pytest.raises(ValueError, match="SoftPool2d: padding must be 0 to kernel_size / 2, got 2"):
        SoftPool2d(4, 2, padding=2)
    with pytest.raises(ValueError, match=r"SoftPool2d: x must be \(N, 4, H, W\), got \(2, 3, 8, 8\)"):
        SoftPool2d(4, 2)(torch.randn(2, 3, 8, 8))
