"""Pools' rows by a naive walk over windows; means by their numbers."""

from __future__ import annotations

import numpy as np
import pytest

from sapool.firmware.rows import UnsupportedError
from tests.firmware.rows.build import integers, network, one_step, quantised, rows_read, spans, steps_of
from tests.firmware.rows.test_convolution import WAYS, Way


@pytest.mark.parametrize("kind", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
@pytest.mark.parametrize("way", [way for way in WAYS if way.dilation == 1], ids=str)
def test_rows_under_the_window(way: Way, kind: str) -> None:
    make, source = network((1, way.height, way.height, 2))
    out = make.tensor((1, way.rows, way.rows, 2), quantised(0.05))
    how = {"filterHeight": way.kernel, "filterWidth": way.kernel, "strideH": way.stride, "strideW": way.stride}
    step = one_step(make, kind, (source,), out, "Pool2DOptions", padding=int(not way.same), **how)
    assert rows_read(step.reads[0]) == spans(way.needed())
    assert step.window.top == way.top
    width, channels, made, kernel_h, kernel_w, stride, left, low, high = integers(step.layer())
    assert (width, channels, made) == (way.height, 2, way.rows)
    assert (kernel_h, kernel_w, stride, left) == (way.kernel, way.kernel, way.stride, way.top)
    assert (low, high) == (-128, 127)


@pytest.mark.parametrize(("kind", "share"), [("MEAN", 1 / 48), ("SUM", 1.0)])
def test_a_sum_over_the_map_grows_row_by_row(kind: str, share: float) -> None:
    make, source = network((1, 6, 8, 5), scale=0.04, zero=3)
    out = make.tensor((1, 5), quantised(0.03, -9))
    step = one_step(make, kind, (source, make.constant(np.array([1, 2], np.int32))), out, "ReducerOptions")
    assert step.kind == "mean"
    assert rows_read(step.reads[0]) == [(n, n + 1) for n in range(6)]
    assert step.made == (0, 0, 0, 0, 0, 1)
    assert step.state == 4 * 5  # an int32 a channel
    count, channels, zero, offset, factor, shift = integers(step.layer())
    assert (count, channels, zero, offset) == (8, 5, -9, 3 * 48)
    assert factor * 2.0 ** (-31 - shift) == pytest.approx(share * 0.04 / 0.03, rel=1e-6)


@pytest.mark.parametrize(("axes", "parts"), [((3,), (8, 5, 1)), ((2, 3), (1, 40, 1)), ((2,), (1, 8, 5))])
def test_sums_inside_a_row_are_made_at_once(axes: tuple[int, ...], parts: tuple[int, int, int]) -> None:
    make, source = network((1, 6, 8, 5))
    left = [side for axis, side in enumerate((1, 6, 8, 5)) if axis not in axes]
    out = make.tensor(left, quantised(0.05))
    step = one_step(make, "MEAN", (source, make.constant(np.array(axes, np.int32))), out, "ReducerOptions")
    assert step.kind == "reduce"
    assert rows_read(step.reads[0]) == [(n, n + 1) for n in range(6)]
    assert tuple(integers(step.layer())[:3]) == parts
    assert integers(step.layer())[-1] == 0


def test_the_largest_of_a_map() -> None:
    make, source = network((1, 6, 8, 5))
    out = make.tensor((1, 5), quantised(0.05))
    step = one_step(make, "REDUCE_MAX", (source, make.constant(np.array([1, 2], np.int32))), out, "ReducerOptions")
    assert integers(step.layer())[:3] == [1, 48, 5]
    assert integers(step.layer())[-1] == 1
    assert step.tasks == 1


def test_axes_that_do_not_lie_side_by_side_are_refused() -> None:
    make, source = network((1, 6, 8, 5))
    out = make.tensor((1, 8), quantised(0.05))
    make.add("MEAN", (source, make.constant(np.array([1, 3], np.int32))), (out,), "ReducerOptions")
    with pytest.raises(UnsupportedError, match=r"axes \(1, 3\) .* do not lie side by side"):
        steps_of(make, out)
