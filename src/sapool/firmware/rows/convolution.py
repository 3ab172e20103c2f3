"""CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sapool.firmware.packing import pack_conv, pack_depthwise
from sapool.firmware.requantize import channel_records, clamp_range, float32_product, multiplier, short_is_exact
from sapool.firmware.rows.lower import Lowering, natural_rows
from sapool.firmware.rows.parts import Blob, Layer, UnsupportedError, Window
from sapool.firmware.scratch import conv_tiles, depthwise_tiles
from sapool.tflite.graph import Operator, Tensor
from sapool.tflite.options import window_options


@dataclass(frozen=True)
class Taps:
    """A kernel without its edges of zeros (what folded padding leaves), and where it lies over the map.

    Attributes:
        values: (channels or 1, rows, columns, channels).
        top: rows of zero points in front of the map, under the first window.
        left: columns of them.
    """

    values: NDArray[np.int8]
    top: int
    left: int


def trim(values: NDArray[np.int8], top: int, left: int, dilation: tuple[int, int]) -> Taps:
    """Return a kernel without the rows and columns at its edges that are all zero; one tap stays."""
    used = np.abs(values.astype(np.int64)).sum(axis=(0, 3)) > 0
    rows, columns = np.flatnonzero(used.any(axis=1)), np.flatnonzero(used.any(axis=0))
    if not len(rows):
        return Taps(values[:, :1, :1], top, left)
    (r0, r1), (c0, c1) = (int(rows[0]), int(rows[-1])), (int(columns[0]), int(columns[-1]))
    return Taps(values[:, r0 : r1 + 1, c0 : c1 + 1], top - r0 * dilation[0], left - c0 * dilation[1])


def same_padding(size: int, kernel: int, stride: int, dilation: int, out: int) -> int:
    """Return how much TensorFlow's SAME puts in front."""
    return max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0) // 2


def through_pad(state: Lowering, op: Operator) -> tuple[int, int, int]:
    """Return (map, top, left): what a VALID convolution reads through a PAD of zero points in front of it."""
    given = op.inputs[0]
    maker = state.graph.maker(given)
    if maker is None or maker.kind not in ("PAD", "PADV2") or window_options(op.options).same:
        return given, 0, 0
    around = state.tensor(maker.inputs[1]).integers
    value = state.tensor(maker.inputs[2]).values if len(maker.inputs) > 2 else None
    tensor = state.tensor(given)
    is_zero = value is None or int(value.reshape(-1)[0]) == tensor.zero_point
    like = tensor.quantization == state.tensor(maker.inputs[0]).quantization
    if len(around) != 8 or any(around[:2]) or any(around[6:]) or not is_zero or not like:
        return given, 0, 0
    return maker.inputs[0], around[2], around[4]


def look_through_pad(state: Lowering, op: Operator) -> tuple[int, ...]:
    """Name the tensors that a convolution reads."""
    return (through_pad(state, op)[0], *op.inputs[1:])


def _taps(state: Lowering, op: Operator, given: int, top: int, left: int) -> Taps:
    """Return an operator's kernel over the map that it reads."""
    how = window_options(op.options)
    values = _values(state.tensor(op.inputs[1]))
    shape, out = state.tensor(given).shape, state.tensor(op.outputs[0]).shape
    if how.same:
        top = same_padding(shape[1], values.shape[1], how.stride[0], how.dilation[0], out[1])
        left = same_padding(shape[2], values.shape[2], how.stride[1], how.dilation[1], out[2])
    return trim(values, top, left, how.dilation)


def _check_types(state: Lowering, op: Operator, given: int) -> None:
    kinds = [state.tensor(given).dtype, state.tensor(op.inputs[1]).dtype, state.tensor(op.outputs[0]).dtype]
    if kinds != ["int8"] * 3:
        raise UnsupportedError(f"takes int8 activations and weights, got {', '.join(kinds)}")
    if not state.is_constant(op.inputs[1]):
        raise UnsupportedError("its weights are computed, not constant")
    if state.tensor(given).scale == 0 or state.tensor(op.outputs[0]).scale == 0:
        raise UnsupportedError("an activation without one scale")


def _check_map(state: Lowering, given: int) -> None:
    shape = state.tensor(given).shape
    if len(shape) != 4 or shape[0] != 1:
        raise UnsupportedError(f"takes one map (1, H, W, C), got {shape}")


def _biases(state: Lowering, op: Operator, channels: int) -> NDArray[np.int64]:
    place = op.inputs[2] if len(op.inputs) > 2 else -1
    values = state.tensor(place).values if place >= 0 else None
    return np.zeros(channels, np.int64) if values is None else values.reshape(-1).astype(np.int64)


def _factors(state: Lowering, given: int, op: Operator, channels: int, float32: bool) -> list[tuple[int, int]]:
    taken, weights, out = state.tensor(given), state.tensor(op.inputs[1]), state.tensor(op.outputs[0])
    if weights.quantization is None:
        raise UnsupportedError("weights without scales")
    scales = weights.quantization.scales
    product: Callable[[float, float], float] = float32_product if float32 else lambda a, b: a * b
    factors = [multiplier(product(taken.scale, scale) / out.scale) for scale in scales]
    return factors * channels if len(factors) == 1 else factors


def _records(
    state: Lowering, op: Operator, given: int, by_channel: NDArray[np.int8], float32: bool
) -> tuple[NDArray[np.int64], bool]:
    """Return every channel's record, and whether the short requantisation is exact."""
    channels = len(by_channel)
    factors = _factors(state, given, op, channels, float32)
    try:
        records = channel_records(_biases(state, op, channels), factors, by_channel, state.tensor(given).zero_point)
    except OverflowError as error:
        raise UnsupportedError(str(error)) from error
    return records, short_is_exact(records, by_channel)


def _ends(op: Operator, taken: Tensor, out: Tensor, short: bool) -> tuple[int, ...]:
    """Return the zero points, the clamp and whether the short form may be used: how both structs end."""
    low, high = clamp_range(op.options.activation, out)
    return taken.zero_point, out.zero_point, low, high, int(short and (low, high) == (-128, 127))


def lower_convolution(state: Lowering, op: Operator) -> None:
    """A row of a convolution needs as many rows as its kernel spans."""
    given, top, left = through_pad(state, op)
    _check_types(state, op, given)
    _check_map(state, given)
    taken, out = state.tensor(given), state.tensor(op.outputs[0])
    taps = _taps(state, op, given, top, left)
    count, height, width, depth = taps.values.shape
    if depth != taken.shape[3]:
        raise UnsupportedError("groups of channels")
    how = window_options(op.options)
    window = Window(height, how.stride[0], how.dilation[0], taps.top)
    shape = (taken.shape[2], depth, out.shape[2], count, height, width, how.stride[1], how.dilation[1], taps.left)
    state.add_step(
        op,
        "conv",
        (state.read_rows(given, taken.shape[1], out.shape[1], window),),
        out.shape[1],
        lambda: _conv_layer(state, op, given, shape, taps.values),
        window=window,
        tiles=conv_tiles(out.shape[2], height * width * depth),
        macs=math.prod(out.shape) * height * width * depth,
    )


def _conv_layer(
    state: Lowering, op: Operator, given: int, shape: Sequence[int], values: NDArray[np.int8], float32: bool = False
) -> Layer:
    taken, out = state.tensor(given), state.tensor(op.outputs[0])
    by_channel = values.reshape(shape[3], -1)
    records, short = _records(state, op, given, by_channel, float32)
    blobs = (
        Blob("int8_t", pack_conv(by_channel), f"weights of {op.module}"),
        Blob("sapool_channel", records, f"channels of {op.module}"),
    )
    return Layer("sapool_conv", (*blobs, *shape, *_ends(op, taken, out, short), 0))


def _values(tensor: Tensor) -> NDArray[np.int8]:
    if tensor.constant is None:
        raise ValueError(f"{tensor.name} is no constant")
    return tensor.constant.raw.view(np.int8).reshape(tensor.shape)


def lower_depthwise(state: Lowering, op: Operator) -> None:
    """A row of a depthwise convolution needs as many rows as its kernel spans."""
    given, top, left = through_pad(state, op)
    _check_types(state, op, given)
    _check_map(state, given)
    taken, out = state.tensor(given), state.tensor(op.outputs[0])
    taps = _taps(state, op, given, top, left)
    _, height, width, count = taps.values.shape
    how = window_options(op.options)
    window = Window(height, how.stride[0], how.dilation[0], taps.top)
    depth = taken.shape[3]
    ends = (height, width, how.stride[1], how.dilation[1], taps.left)
    shape = (taken.shape[2], depth, out.shape[2], count // depth, *ends)
    tiles = depthwise_tiles(out.shape[2], (height, width), how.stride[1], how.dilation[1], state.core)
    if depth < 4 or not _takes_the_short_form(state, op, given, taps.values[0]):
        tiles = ()  # its kernel goes tap by tap then, without scratch
    state.add_step(
        op,
        "depthwise",
        (state.read_rows(given, taken.shape[1], out.shape[1], window),),
        out.shape[1],
        lambda: _depthwise_layer(state, op, given, shape, taps.values[0]),
        window=window,
        tiles=tiles,
        macs=math.prod(out.shape) * height * width,
    )


def _takes_the_short_form(state: Lowering, op: Operator, given: int, values: NDArray[np.int8]) -> bool:
    by_channel = values.reshape(-1, values.shape[2]).T
    _, short = _records(state, op, given, by_channel, float32=False)
    return bool(_ends(op, state.tensor(given), state.tensor(op.outputs[0]), short)[-1])


def _depthwise_layer(
    state: Lowering, op: Operator, given: int, shape: Sequence[int], values: NDArray[np.int8]
) -> Layer:
    taken, out = state.tensor(given), state.tensor(op.outputs[0])
    by_channel = np.ascontiguousarray(values.reshape(-1, values.shape[2]).T)
    records, short = _records(state, op, given, by_channel, float32=False)
    blobs = (
        Blob("int8_t", pack_depthwise(values, shape[7], shape[3]), f"weights of {op.module}"),
        Blob("sapool_channel", records, f"channels of {op.module}"),
    )
    return Layer("sapool_depthwise", (*blobs, *shape, *_ends(op, taken, out, short), 0))


def lower_fully_connected(state: Lowering, op: Operator) -> None:
    """A convolution of 1 x 1 over the positions of all axes but the last."""
    given = op.inputs[0]
    _check_types(state, op, given)
    taken, out, weights = state.tensor(given), state.tensor(op.outputs[0]), state.tensor(op.inputs[1])
    count, depth = weights.shape
    positions = math.prod(taken.shape) // depth
    rows = state.rows_of(given)
    if positions % rows:
        rows = natural_rows(out.shape)
    rows = rows if positions % rows == 0 else positions
    per_row = positions // rows
    shape = (per_row, depth, per_row, count, 1, 1, 1, 1, 0)
    per_channel = weights.channels > 1
    zeros = weights.quantization.zero_points if weights.quantization is not None else ()
    if any(zeros):
        raise UnsupportedError("weights with a zero point that is not 0")
    state.add_step(
        op,
        "conv",
        (state.read_rows(given, rows, rows),),
        rows,
        lambda: _conv_layer(state, op, given, shape, _values(weights), float32=not per_channel),
        window=Window(),
        tiles=conv_tiles(per_row, depth),
        macs=positions * count * depth,
    )
