"""Output rows between input rows: by scattering every tap, and by where pixels' centres lie."""

from __future__ import annotations

import numpy as np
import pytest

from sapool.firmware.rows import UnsupportedError
from sapool.firmware.rows.enlarging import between
from tests.firmware.rows.build import arrays, integers, network, one_step, quantised, rows_read, spans, steps_of


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
def test_rows_that_a_transposed_kernel_falls_on(kernel: int, stride: int, same: bool) -> None:
    make, source = network((1, 5, 5, 2))
    rows = 5 * stride if same else 4 * stride + kernel
    out = make.tensor((1, rows, rows, 3))
    inputs = (
        make.constant(np.array([1, rows, rows, 3], np.int32)),
        make.weights((3, kernel, kernel, 2), 0, 0.01),
        source,
    )
    how = {"strideH": stride, "strideW": stride, "padding": int(not same)}
    step = one_step(make, "TRANSPOSE_CONV", inputs, out, "TransposeConvOptions", **how)
    top = max(4 * stride + kernel - rows, 0) // 2 if same else 0
    falls: list[set[int]] = [set() for _ in range(rows)]
    for y in range(5):
        for tap in range(kernel):
            if 0 <= y * stride + tap - top < rows:
                falls[y * stride + tap - top].add(y)
    got = rows_read(step.reads[0])
    for (low, high), wanted in zip(got, falls, strict=True):
        assert set(range(low, high)) == wanted or (low, high) == spans([wanted])[0]
    assert step.macs * step.tasks == pytest.approx(25 * 2 * 3 * kernel**2, abs=rows)


def test_a_transposed_layer_folds_no_zero_point() -> None:
    make, source = network((1, 4, 4, 2), zero=7)
    out = make.tensor((1, 8, 8, 3))
    bias = make.constant(np.array([5, -6, 7], np.int32))
    size = make.constant(np.array([1, 8, 8, 3], np.int32))
    inputs = (size, make.weights((3, 2, 2, 2), 0, 0.01), source, bias)
    step = one_step(make, "TRANSPOSE_CONV", inputs, out, "TransposeConvOptions", strideH=2, strideW=2)
    weights, records = arrays(step.layer())
    assert records[:, 0].tolist() == [5, -6, 7]
    held = make.graph.tensors[inputs[1]].values
    assert held is not None
    np.testing.assert_array_equal(weights, held.reshape(-1))
    assert integers(step.layer())[:8] == [4, 2, 8, 3, 2, 2, 2, 0]


@pytest.mark.parametrize(("half", "corners"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize(("size", "wanted"), [(4, 8), (4, 10), (8, 4), (5, 5), (1, 6), (7, 3)])
def test_places_between_rows(size: int, wanted: int, half: bool, corners: bool) -> None:
    for n, (low, high, part) in enumerate(between(size, wanted, half, corners)):
        scale = (size - 1) / (wanted - 1) if corners else size / wanted
        real = (n + 0.5) * scale - 0.5 if half else n * scale
        assert 0 <= low <= high <= min(low + 1, size - 1)
        assert low + part / 1024 == pytest.approx(real, abs=(wanted + 1) / 1024)


def test_a_row_needs_the_one_before_and_the_one_behind() -> None:
    make, source = network((1, 4, 4, 2))
    out = make.tensor((1, 8, 8, 2), quantised(0.05))
    size = make.constant(np.array([8, 8], np.int32))
    step = one_step(make, "RESIZE_BILINEAR", (source, size), out, "ResizeBilinearOptions")
    wanted = [{n // 2} | ({min(n // 2 + 1, 3)} if n % 2 else set()) for n in range(8)]
    assert rows_read(step.reads[0]) == spans(wanted)
    rows, columns = arrays(step.layer())
    assert rows.reshape(8, 3)[:, 2].tolist() == [0, 512] * 4
    np.testing.assert_array_equal(rows, columns)


def test_other_types_are_refused() -> None:
    make, source = network((1, 4, 4, 2), dtype="uint8")
    out = make.tensor((1, 8, 8, 2), quantised(0.05), "uint8")
    make.add("RESIZE_BILINEAR", (source, make.constant(np.array([8, 8], np.int32))), (out,), "ResizeBilinearOptions")
    with pytest.raises(UnsupportedError, match="takes int8, got uint8"):
        steps_of(make, out)
