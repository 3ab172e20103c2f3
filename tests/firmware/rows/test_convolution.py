"""Convolutions: rows under each window by a naive walk over taps, packed kernels, what is refused."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from sapool.firmware.rows import Step, UnsupportedError
from sapool.firmware.rows.convolution import same_padding, trim
from sapool.tflite.graph import Quantization
from tests.firmware.random_networks import Maker
from tests.firmware.rows.build import arrays, integers, network, one_step, quantised, rows_read, spans, steps_of


@dataclass(frozen=True)
class Way:
    height: int
    kernel: int
    stride: int
    dilation: int
    same: bool

    @property
    def rows(self) -> int:
        span = (self.kernel - 1) * self.dilation + 1
        return -(-self.height // self.stride) if self.same else (self.height - span) // self.stride + 1

    @property
    def top(self) -> int:
        """Rows of padding in front, as TensorFlow defines SAME."""
        span = (self.kernel - 1) * self.dilation + 1
        return max((self.rows - 1) * self.stride + span - self.height, 0) // 2 if self.same else 0

    def needed(self) -> list[set[int]]:
        """Return the rows of the map from the first tap of each output row to the last."""
        found = []
        for row in range(self.rows):
            taps = [row * self.stride + tap * self.dilation - self.top for tap in range(self.kernel)]
            found.append({y for y in range(self.height) if taps[0] <= y <= taps[-1]})
        return found


WAYS = [
    Way(height, kernel, stride, dilation, same)
    for height in (7, 12)
    for kernel in (1, 2, 3, 5)
    for stride in (1, 2, 3)
    for dilation in (1, 2)
    for same in (True, False)
    if (stride == 1 or dilation == 1) and (kernel - 1) * dilation < height
]


def convolution(make: Maker, given: int, way: Way, kind: str = "CONV_2D", bias: int = -1) -> int:
    """Add a convolution whose weights are nowhere zero."""
    depth, side = make.shape(given)[3], way.kernel
    count = 5 if kind == "CONV_2D" else depth
    out = make.tensor((1, way.rows, way.rows, count))
    shape = (count, side, side, depth) if kind == "CONV_2D" else (1, side, side, depth)
    scales = tuple(float(np.float32(0.01 * (n + 1))) for n in range(count))
    values = make.rng.integers(1, 128, shape).astype(np.int8)
    weights = make.constant(values, Quantization(scales, (0,) * count, 0 if kind == "CONV_2D" else 3))
    how = {"strideH": way.stride, "strideW": way.stride, "padding": int(not way.same)}
    dilations = {"dilationHFactor": way.dilation, "dilationWFactor": way.dilation}
    make.add(kind, (given, weights, bias), (out,), "Conv2DOptions", **how, **dilations)
    return out


@pytest.mark.parametrize("kind", ["CONV_2D", "DEPTHWISE_CONV_2D"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_rows_under_the_window(way: Way, kind: str) -> None:
    make, source = network((1, way.height, way.height, 3))
    (step,) = steps_of(make, convolution(make, source, way, kind)).steps
    assert rows_read(step.reads[0]) == spans(way.needed())
    window = step.window
    assert (window.taps, window.stride, window.dilation, window.top) == (way.kernel, way.stride, way.dilation, way.top)
    channels = 5 * 3 if kind == "CONV_2D" else 3
    assert step.macs * step.tasks == way.rows**2 * channels * way.kernel**2


@pytest.mark.parametrize("size", range(1, 12))
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_centres_the_windows(size: int, stride: int) -> None:
    for kernel in (1, 2, 3, 5):
        out = -(-size // stride)
        top = same_padding(size, kernel, stride, 1, out)
        bottom = (out - 1) * stride + kernel - size - top
        assert top <= max(bottom, 0) <= top + 1  # what is odd goes behind


def test_edges_of_zeros_are_trimmed() -> None:
    values = np.zeros((2, 5, 5, 3), np.int8)
    values[1, 1, 2, 0] = values[0, 3, 3, 2] = 7
    taps = trim(values, 2, 2, (1, 2))
    np.testing.assert_array_equal(taps.values, values[:, 1:4, 2:4])
    assert (taps.top, taps.left) == (2 - 1, 2 - 2 * 2)
    nothing = trim(np.zeros((2, 3, 3, 1), np.int8), 1, 1, (1, 1))
    assert nothing.values.shape == (2, 1, 1, 1)


def test_a_pad_in_front_melts_into_the_convolution() -> None:
    make, source = network((1, 8, 8, 3), zero=4)
    padded = make.tensor((1, 11, 11, 3), quantised(0.05, 4))
    around = make.constant(np.array([(0, 0), (2, 1), (2, 1), (0, 0)], np.int32))
    make.add("PAD", (source, around), (padded,), "PadOptions")
    program = steps_of(make, convolution(make, padded, Way(11, 3, 2, 1, False)))
    (step,) = program.steps
    assert step.reads[0].store == program.source
    wanted = [{2 * row + tap - 2 for tap in range(3)} & set(range(8)) for row in range(5)]
    assert rows_read(step.reads[0]) == spans(wanted)


def test_a_pad_of_another_value_stays() -> None:
    make, source = network((1, 8, 8, 3), zero=4)
    padded = make.tensor((1, 10, 10, 3), quantised(0.05, 4))
    around = make.constant(np.array([(0, 0), (1, 1), (1, 1), (0, 0)], np.int32))
    make.add("PADV2", (source, around, make.constant(np.array(5, np.int8))), (padded,), "PadV2Options")
    program = steps_of(make, convolution(make, padded, Way(10, 3, 1, 1, False)))
    assert [step.kind for step in program.steps] == ["move", "conv"]


def convolved(zero: int, bias: int | None = None) -> tuple[Maker, Step]:
    make, source = network((1, 6, 6, 4), scale=0.02, zero=zero)
    biases = -1 if bias is None else make.constant(np.full(5, bias, np.int32))
    (step,) = steps_of(make, convolution(make, source, Way(6, 3, 1, 1, True), bias=biases)).steps
    return make, step


def test_a_layer_holds_scales_and_folded_biases() -> None:
    make, step = convolved(zero=-5, bias=1000)
    _, records = arrays(step.layer())
    op = make.graph.operators[0]
    weights, out = make.graph.tensors[op.inputs[1]], make.graph.tensors[op.outputs[0]]
    assert weights.values is not None
    sums = weights.values.astype(int).reshape(5, -1).sum(1)
    np.testing.assert_array_equal(records[:, 0], 1000 + 5 * sums)
    real = records[:, 1] * 2.0 ** (-31.0 - records[:, 2].astype(float))
    scales = np.array(weights.quantization.scales if weights.quantization else ())
    np.testing.assert_allclose(real, np.float32(0.02) * scales / out.scale, rtol=1e-8)
    assert integers(step.layer())[:9] == [6, 4, 6, 5, 3, 3, 1, 1, 1]


@pytest.mark.parametrize(("bias", "short"), [(0, 1), ((1 << 30) - 1, 0)])
def test_the_short_form_is_for_small_accumulators(bias: int, short: int) -> None:
    _, step = convolved(zero=0, bias=bias)
    assert integers(step.layer())[-2] == short


def test_a_depthwise_kernel_in_the_long_form_needs_no_scratch() -> None:
    make, source = network((1, 8, 8, 8))
    (fast,) = steps_of(make, convolution(make, source, Way(8, 3, 1, 1, True), "DEPTHWISE_CONV_2D")).steps
    make, source = network((1, 8, 8, 8))
    bias = make.constant(np.full(8, 1 << 30, np.int32))
    (slow,) = steps_of(make, convolution(make, source, Way(8, 3, 1, 1, True), "DEPTHWISE_CONV_2D", bias)).steps
    assert fast.scratch > 0
    assert (slow.scratch, slow.tiles) == (0, ())


@pytest.mark.parametrize(("shape", "rows"), [((1, 30), 1), ((6, 5), 6), ((1, 4, 3, 5), 4)])
def test_a_fully_connected_layer_goes_row_by_row(shape: tuple[int, ...], rows: int) -> None:
    make, source = network(shape)
    depth, count = shape[-1], 7
    weights = make.constant(make.rng.integers(-9, 9, (count, depth)).astype(np.int8), quantised(0.01))
    out = make.tensor((*shape[:-1], count))
    step = one_step(make, "FULLY_CONNECTED", (source, weights, -1), out, "FullyConnectedOptions")
    assert rows_read(step.reads[0]) == [(n, n + 1) for n in range(rows)]
    assert step.macs * step.tasks == int(np.prod(shape)) * count


def test_what_is_refused() -> None:
    make, source = network((1, 8, 8, 4))
    out = make.tensor((1, 8, 8, 4))
    weights = make.weights((4, 1, 1, 2), 0, 0.01)
    make.add("CONV_2D", (source, weights, -1), (out,), "Conv2DOptions")
    with pytest.raises(UnsupportedError, match="groups of channels"):
        steps_of(make, out)
    make, source = network((1, 8, 8, 4))
    folded = make.constant(np.full(5, (1 << 31) - 1, np.int32))
    make.graph.change_tensor(source, quantization=quantised(0.05, -100))
    with pytest.raises(UnsupportedError, match="more than 32 bits"):
        steps_of(make, convolution(make, source, Way(8, 3, 1, 1, True), bias=folded)).steps[0].layer()
