from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sapool.layers.window import Window, as_pair, as_window, at_least_float
from tests.layers.contract import CASES, pool_loops


@pytest.mark.parametrize(("kernel", "stride", "padding", "ceil_mode", "size"), CASES)
def test_maxima_averages_and_samples_are_those_of_loops(
    kernel: Any, stride: Any, padding: Any, ceil_mode: bool, size: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    window = as_window("W", kernel, stride, padding, ceil_mode)
    x = torch.randn(2, 3, *size)
    expected = pool_loops(x, window, lambda region: region.pixels.amax(2))
    assert tuple(expected.shape[2:]) == window.output_size(*size)
    torch.testing.assert_close(window.maximum(x), expected, atol=0, rtol=0)
    torch.testing.assert_close(window.stack(x, fill=float("-inf")).amax(2), expected, atol=0, rtol=0)
    torch.testing.assert_close(window.average(x), pool_loops(x, window, lambda region: region.padded.mean(2)))
    without = window.average(x, count_include_pad=False)
    torch.testing.assert_close(without, pool_loops(x, window, lambda region: region.pixels.mean(2)))
    laid_out = pool_loops(x, window, lambda region: region.whole.flatten(2).cumsum(2)[:, :, -1])
    torch.testing.assert_close(window.stack(x).sum(2), laid_out)


def test_tiles_are_averaged_alike_however_the_map_is_stored() -> None:
    window = Window((2, 3), (2, 3))
    assert window.is_tiling
    assert window.area == 6
    x = torch.randn(2, 4, 8, 9, dtype=torch.float64)
    expected = nn.AvgPool2d((2, 3))(x)
    for form in (x, x.contiguous(memory_format=torch.channels_last), x.clone().requires_grad_()):
        torch.testing.assert_close(window.average(form), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    ("window", "said"),
    [
        ((0, None, 0), "W: kernel_size must be at least 1, got 0"),
        ((2, (1, 0), 0), "W: stride must be at least 1, got 0"),
        ((3, 2, 2), "W: padding must be 0 to kernel_size / 2, got 2"),
        (("2", None, 0), "W: kernel_size must be an int or a pair of ints, got '2'"),
        (((1, 2, 3), None, 0), r"W: kernel_size must be an int or a pair of ints, got \(1, 2, 3\)"),
    ],
)
def test_windows_out_of_range_are_named(window: tuple[Any, Any, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        as_window("W", *window, False)


def test_pairs_and_half_types() -> None:
    assert as_pair(3) == as_pair([3, 3]) == (3, 3)
    assert at_least_float(torch.zeros(1, dtype=torch.float16)).dtype == torch.float32
    assert at_least_float(torch.zeros(1, dtype=torch.float64)).dtype == torch.float64
