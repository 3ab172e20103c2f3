"""AVERAGE_POOL_2D, MAX_POOL_2D, MEAN and SUM."""

from __future__ import annotations

import math

from sapool.firmware.requantize import clamp_range, multiplier
from sapool.firmware.rows.convolution import same_padding
from sapool.firmware.rows.lower import Lowering
from sapool.firmware.rows.parts import Layer, UnsupportedError, Window
from sapool.tflite.graph import Operator
from sapool.tflite.options import window_options


def lower_pool(state: Lowering, op: Operator) -> None:
    """A row of a pool needs as many rows as its window spans; what lies in the padding doesn't count."""
    taken, out = state.tensor(op.inputs[0]), state.tensor(op.outputs[0])
    if (taken.dtype, out.dtype) != ("int8", "int8") or len(taken.shape) != 4 or taken.shape[0] != 1:
        raise UnsupportedError(f"takes one int8 map (1, H, W, C), got {taken.dtype} {taken.shape}")
    how = window_options(op.options)
    top = left = 0
    if how.same:
        top = same_padding(taken.shape[1], how.filter[0], how.stride[0], 1, out.shape[1])
        left = same_padding(taken.shape[2], how.filter[1], how.stride[1], 1, out.shape[2])
    window = Window(how.filter[0], how.stride[0], 1, top)
    low, high = clamp_range(op.options.activation, out)
    shape = (taken.shape[2], taken.shape[3], out.shape[2], *how.filter, how.stride[1], left, low, high)
    state.add_step(
        op,
        "average_pool" if op.kind == "AVERAGE_POOL_2D" else "max_pool",
        (state.read_rows(op.inputs[0], taken.shape[1], out.shape[1], window),),
        out.shape[1],
        lambda: Layer("sapool_pool", shape),
        window=window,
    )


def lower_mean(state: Lowering, op: Operator) -> None:
    """Sums grow row by row; the last row makes the output."""
    taken, out = state.tensor(op.inputs[0]), state.tensor(op.outputs[0])
    if (taken.dtype, out.dtype) != ("int8", "int8"):
        raise UnsupportedError(f"takes int8, got {taken.dtype}")
    rank = len(taken.shape)
    axes = sorted(axis % rank for axis in state.tensor(op.inputs[1]).integers)
    kept = [axis for axis in range(rank) if axis not in axes and taken.shape[axis] > 1]
    if any(axis < max(axes) for axis in kept):
        raise UnsupportedError(f"over axes {tuple(axes)} of {taken.shape}: those before the kept ones only")
    channels = math.prod(taken.shape[axis] for axis in kept)
    count = math.prod(taken.shape) // channels
    rows = state.rows_of(op.inputs[0])
    rows = rows if count % rows == 0 else count
    state.add_step(
        op,
        "mean",
        (state.read_rows(op.inputs[0], rows, rows),),
        1,
        lambda: _mean_layer(state, op, count, rows, channels),
        made=(0,) * (rows - 1) + (1,),
        state=4 * channels,
    )


def _mean_layer(state: Lowering, op: Operator, count: int, rows: int, channels: int) -> Layer:
    taken, out = state.tensor(op.inputs[0]), state.tensor(op.outputs[0])
    fixed, shift = multiplier(taken.scale / out.scale)
    if op.kind == "MEAN":
        up = min(63 - (64 - count.bit_length()), 32, 31 - shift)
        fixed, shift = (fixed << up) // count, shift + up
    offset = count * taken.zero_point
    return Layer("sapool_mean", (count // rows, channels, out.zero_point, offset, fixed, shift))
