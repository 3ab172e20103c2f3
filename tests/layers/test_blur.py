from __future__ import annotations

import sys
from math import comb
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sapool.layers.blur import BlurPool2d
from sapool.layers.window import Window
from tests.layers.contract import (
    check_gradient,
    check_graphs,
    check_half,
    maximum_size,
    pool_loops,
)

# kernel, stride, padding, ceil_mode, map
CASES: list[tuple[Any, int, Any, bool, tuple[int, int]]] = [
    (2, 2, 0, False, (8, 10)),
    (2, 2, 0, True, (9, 11)),
    (3, 2, 1, False, (9, 12)),
    ((3, 5), 2, (1, 2), False, (9, 12)),
    (4, 4, 0, False, (17, 22)),
    (8, 8, 0, False, (40, 33)),
    (4, 2, 1, True, (10, 11)),
]


def blur_side(x: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """Blur the last axis with a binomial filter, reflected at the edges, and keep every second value."""
    taps = [comb(size - 1, k) / 2 ** (size - 1) for k in range(size)]
    wide = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(size // 2, size // 2)], mode="reflect")
    places = range(0, x.shape[-1], 2)
    return np.stack([sum(tap * wide[..., i + k] for k, tap in enumerate(taps)) for i in places], -1)


def literal_blur(x: Tensor, stride: int, size: int) -> Tensor:
    blurred = x.numpy()
    while stride > 1:
        blurred = blur_side(blurred, size)
        blurred = blur_side(blurred.swapaxes(2, 3), size).swapaxes(2, 3)
        stride //= 2
    return torch.from_numpy(np.ascontiguousarray(blurred))


@pytest.mark.parametrize(("kernel", "stride", "padding", "ceil", "size"), CASES)
@pytest.mark.parametrize("filter_size", [3, 5])
def test_plain_form_equals_the_formula(
    kernel: Any, stride: int, padding: Any, ceil: bool, size: tuple[int, int], filter_size: int
) -> None:
    torch.manual_seed(0)
    pool = BlurPool2d(3, kernel, stride, padding, ceil, filter_size=filter_size).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    rows, columns = maximum_size(pool, x)[2:]
    expected = literal_blur(x, stride, filter_size)[:, :, :rows, :columns]
    torch.testing.assert_close(pool(x), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(("kernel", "stride", "padding", "ceil", "size"), CASES)
def test_max_form_equals_the_formula(kernel: Any, stride: int, padding: Any, ceil: bool, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    pool = BlurPool2d(3, kernel, stride, padding, ceil, max_first=True).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    w = pool.window
    # In ceil_mode the map goes on, empty, as far as the last window reaches.
    longer = w.pad(x, -torch.inf) if ceil else x
    dense = Window(w.kernel_size, (1, 1), (0, 0) if ceil else w.padding)
    tops = pool_loops(longer, dense, lambda region: region.pixels.amax(2))
    expected = literal_blur(tops, stride, 3)
    torch.testing.assert_close(pool(x), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("max_first", [False, True])
@pytest.mark.parametrize("stride", [2, 4, 8])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 8, 9])
@pytest.mark.parametrize("ceil", [False, True])
def test_output_is_as_large_as_max_poolings(max_first: bool, stride: int, kernel: int, ceil: bool) -> None:
    for padding in range(kernel // 2 + 1):
        try:
            pool = BlurPool2d(1, kernel, stride, padding, ceil, max_first=max_first)
        except ValueError:
            assert not max_first
            assert padding > 0
            # Refused only where some map really comes out too small.
            window = Window((kernel, kernel), (stride, stride), (padding, padding), ceil)
            sides = range(max(1, kernel - 2 * padding), 40)
            assert any(window.output_size(n, n)[0] > -(-n // stride) for n in sides)
            continue
        for size in range(max(1, kernel - 2 * padding), 20):
            x = torch.ones(1, 1, size, size + 1)
            y = pool(x)
            assert y.shape == maximum_size(pool, x)
            torch.testing.assert_close(y, torch.ones_like(y))


@pytest.mark.parametrize("filter_size", [3, 5, 7])
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 5), (3, 2)])
def test_maps_smaller_than_the_filter_are_continued(filter_size: int, size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    pool = BlurPool2d(3, 1, 2, filter_size=filter_size)
    y = pool(x)
    assert y.shape == maximum_size(pool, x)
    assert torch.isfinite(y).all()
    torch.testing.assert_close(pool(torch.ones_like(x)), torch.ones_like(y))


def test_shift_by_one_pixel_changes_less_than_max_pooling() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 3, 33, 33)
    pool = BlurPool2d(3, 2)
    near = (pool(x[..., :-1]) - pool(x[..., 1:])).abs().mean()
    far = (pool.window.maximum(x[..., :-1]) - pool.window.maximum(x[..., 1:])).abs().mean()
    assert near < 0.6 * far


def test_edges_never_let_the_fill_through() -> None:
    pool = BlurPool2d(2, 3, 2, 1, True, max_first=True)
    y = pool(torch.full((1, 2, 8, 9), -5.0))
    torch.testing.assert_close(y, torch.full_like(y, -5.0))


@pytest.mark.parametrize("max_first", [False, True])
def test_edges_in_graphs_and_half_precision(max_first: bool) -> None:
    pool = BlurPool2d(3, 3, 2, 1, max_first=max_first)
    check_half(pool, 1.0)
    check_half(pool, 10000.0)
    check_graphs(pool)
    check_gradient(pool)
    assert not pool.state_dict()


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm.layers", None)
    with pytest.raises(ImportError, match=r"BlurPool2d needs the package 'timm': pip install 'sapool\[train\]'"):
        BlurPool2d(4, 2)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"stride": 1}, r"stride must be 2, 4, 8 or another power of two, the same on both sides, got \(1, 1\)"),
        ({"stride": 6}, r"stride must be .* got \(6, 6\)"),
        ({"stride": (2, 4)}, r"stride must be .* got \(2, 4\)"),
        ({"filter_size": 4}, "filter_size must be odd and at least 3, got 4"),
        ({"filter_size": 1}, "filter_size must be odd and at least 3, got 1"),
        ({"padding": 1}, r"0 or at most \(kernel_size - 1\) / 2 without max_first, got 1"),
        (
            {"kernel_size": 3, "padding": 1, "ceil_mode": True},
            r"padding must be 0 or at most \(kernel_size - stride\) / 2 in ceil_mode without max_first, got 1",
        ),
    ],
)
def test_bad_arguments_name_the_rule_and_the_value(kwargs: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"in_channels": 4, "kernel_size": 2, "stride": 2} | kwargs
    with pytest.raises(ValueError, match=said):
        BlurPool2d(**given)


def test_gradient_of_a_region_is_spread_over_it() -> None:
    """Every pixel of the map reaches the output of the plain form."""
    x = torch.randn(1, 1, 8, 8, requires_grad=True)
    BlurPool2d(1, 2)(x).sum().backward()
    assert x.grad is not None
    assert (x.grad > 0).all()
