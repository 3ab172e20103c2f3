from __future__ import annotations

from typing import Any

import pytest
import torch

from sapool.layers.mixed import GatedPool2d, MixedPool2d
from tests.layers.contract import (
    CASES,
    Region,
    check_gradient,
    check_graphs,
    check_half,
    pool_loops,
)
from tests.layers.oracle import randomize


def mixture(region: Region, share: torch.Tensor) -> torch.Tensor:
    return share * region.pixels.amax(2) + (1 - share) * region.padded.mean(2)


@pytest.mark.parametrize(("kernel", "stride", "padding", "ceil", "size"), CASES)
@pytest.mark.parametrize("per_channel", [False, True])
def test_mixed_equals_the_formula(
    kernel: Any, stride: Any, padding: Any, ceil: bool, size: tuple[int, int], per_channel: bool
) -> None:
    torch.manual_seed(0)
    pool = MixedPool2d(3, kernel, stride, padding, ceil, per_channel=per_channel).double()
    randomize(pool)
    share = 1 / (1 + (-pool.alpha.detach()).exp())
    assert share.numel() == (3 if per_channel else 1)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    expected = pool_loops(x, pool.window, lambda region: mixture(region, share))
    torch.testing.assert_close(pool(x).detach(), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(("kernel", "stride", "padding", "ceil", "size"), CASES)
@pytest.mark.parametrize("per_channel", [False, True])
def test_gated_equals_the_formula(
    kernel: Any, stride: Any, padding: Any, ceil: bool, size: tuple[int, int], per_channel: bool
) -> None:
    torch.manual_seed(0)
    pool = GatedPool2d(3, kernel, stride, padding, ceil, per_channel=per_channel).double()
    randomize(pool)
    omega = pool.omega.detach()
    assert omega.shape == (3 if per_channel else 1, 1, *pool.window.kernel_size)

    def gated(region: Region) -> torch.Tensor:
        return mixture(region, torch.sigmoid((region.whole * omega[:, 0]).sum((2, 3))))

    x = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(pool(x).detach(), pool_loops(x, pool.window, gated), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("layer", [MixedPool2d, GatedPool2d])
def test_starts_half_way(layer: type[MixedPool2d | GatedPool2d]) -> None:
    pool, x = layer(3, 3, 2, 1), torch.randn(2, 3, 9, 8)
    expected = (pool.window.maximum(x) + pool.window.average(x)) / 2
    torch.testing.assert_close(pool(x), expected)


def test_limits_are_max_and_average_pooling() -> None:
    x = torch.rand(2, 3, 9, 8) + 0.5
    for sign, bound in ((1, "maximum"), (-1, "average")):
        mixed, gated = MixedPool2d(3, 3, 2, 1), GatedPool2d(3, 3, 2, 1)
        torch.nn.init.constant_(mixed.alpha, sign * 100)
        torch.nn.init.constant_(gated.omega, sign * 100)
        for pool in (mixed, gated):
            torch.testing.assert_close(pool(x).detach(), getattr(pool.window, bound)(x))


@pytest.mark.parametrize("layer", [MixedPool2d, GatedPool2d])
@pytest.mark.parametrize("per_channel", [False, True])
def test_edges_in_graphs_and_half_precision(layer: type[MixedPool2d | GatedPool2d], per_channel: bool) -> None:
    pool = layer(3, 3, 2, 1, True, per_channel=per_channel)
    randomize(pool)
    check_half(pool, 1.0)
    check_graphs(pool)
    check_gradient(pool)


@pytest.mark.parametrize("layer", [MixedPool2d, GatedPool2d])
def test_half_does_not_overflow_between_large_values_of_both_signs(layer: type[MixedPool2d | GatedPool2d]) -> None:
    x = torch.tensor([[60000.0, -60000.0], [-60000.0, -60000.0]]).half()[None, None]
    torch.testing.assert_close(layer(1, 2).half()(x).float(), torch.full((1, 1, 1, 1), 15000.0), atol=16, rtol=0)


@pytest.mark.parametrize("layer", [MixedPool2d, GatedPool2d])
def test_bad_arguments_and_maps_are_refused(layer: type[MixedPool2d | GatedPool2d]) -> None:
    with pytest.raises(ValueError, match=f"{layer.__name__}: in_channels must be at least 1, got 0"):
        layer(0, 2)
    with pytest.raises(ValueError, match=f"{layer.__name__}: the map must be at least as large as the window"):
        layer(4, 3)(torch.randn(2, 4, 2, 8))
