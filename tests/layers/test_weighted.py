from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sapool.layers import WeightedWindow, reduce_before_weighting, weighted_average
from tests.layers.oracle import weighted_loops

sides = st.integers(1, 6)


@settings(max_examples=150, deadline=None)
@given(
    kernel=st.tuples(sides, sides),
    stride=st.tuples(sides, sides),
    patch=st.tuples(sides, sides),
    extra=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    normalize=st.booleans(),
)
def test_every_form_equals_the_loops(
    kernel: tuple[int, int], stride: tuple[int, int], patch: tuple[int, int], extra: tuple[int, int], normalize: bool
) -> None:
    height, width = kernel[0] + extra[0], kernel[1] + extra[1]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, height, width, generator=generator, dtype=torch.float64)
    low = 1 + torch.rand(2, 3, -(-height // patch[0]), -(-width // patch[1]), generator=generator, dtype=torch.float64)
    full = low.repeat_interleave(patch[0], 2).repeat_interleave(patch[1], 3)[:, :, :height, :width]
    window = WeightedWindow(kernel, stride, (0, 0), False, patch, normalize)
    got = weighted_average(reduce_before_weighting(x, window), low, window)
    torch.testing.assert_close(got, weighted_loops(x, full, kernel, stride, normalize), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    ("patch", "stride", "normalize", "form", "kept"),
    [
        (2, 4, True, "pool_first", (8, 8)),
        (4, 4, False, "pool_first", (4, 4)),
        (8, 4, False, "pool_once", (4, 4)),
        (8, 4, True, "general", (16, 16)),
        (3, 4, True, "general", (16, 16)),
    ],
)
def test_the_leanest_exact_form_is_chosen(
    patch: int, stride: int, normalize: bool, form: str, kept: tuple[int, int]
) -> None:
    window = WeightedWindow((stride, stride), (stride, stride), (0, 0), False, (patch, patch), normalize)
    assert window.form == form
    assert reduce_before_weighting(torch.zeros(1, 1, 16, 16), window).shape[2:] == kept


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_padded_windows_divide_by_the_weights_inside_the_map(ceil_mode: bool) -> None:
    x, weight = torch.rand(1, 2, 7, 7), 1 + torch.rand(1, 2, 7, 7)
    window = WeightedWindow((3, 3), (2, 2), (1, 1), ceil_mode, (1, 1), normalize=True)
    got = weighted_average(reduce_before_weighting(x, window), weight, window)
    torch.testing.assert_close(
        got[0, :, 0, 0], (x * weight)[0, :, :2, :2].sum((1, 2)) / weight[0, :, :2, :2].sum((1, 2))
    )
    torch.testing.assert_close(
        got[0, :, 1, 1], (x * weight)[0, :, 1:4, 1:4].sum((1, 2)) / weight[0, :, 1:4, 1:4].sum((1, 2))
    )
