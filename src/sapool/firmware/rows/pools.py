"""AVERAGE_POOL_2D, MAX_POOL_2D, MEAN, SUM and REDUCE_MAX."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
    """Sums over whole rows grow row by row; sums inside a row are made at once."""
    taken, out = state.tensor(op.inputs[0]), state.tensor(op.outputs[0])
    if (taken.dtype, out.dtype) != ("int8", "int8"):
        raise UnsupportedError(f"takes int8, got {taken.dtype}")
    outer, count, inner = _parts(taken.shape, [a % len(taken.shape) for a in state.tensor(op.inputs[1]).integers])
    if outer == 1 and op.kind != "REDUCE_MAX":
        rows = state.rows_of(op.inputs[0])
        _lower_growing(state, op, count, rows if count % rows == 0 else count, inner)
        return
    rows = state.rows_of(op.inputs[0])
    rows = rows if outer % rows == 0 else outer
    state.add_step(
        op,
        "reduce",
        (state.read_rows(op.inputs[0], rows, rows),),
        rows,
        lambda: Layer("sapool_reduce", (outer // rows, count, inner, *_factors(state, op, count))),
    )


def _lower_growing(state: Lowering, op: Operator, count: int, rows: int, channels: int) -> None:
    state.add_step(
        op,
        "mean",
        (state.read_rows(op.inputs[0], rows, rows),),
        1,
        lambda: Layer("sapool_mean", (count // rows, channels, *_factors(state, op, count)[:-1])),
        made=(0,) * (rows - 1) + (1,),
        state=4 * channels,
    )


def _parts(shape: tuple[int, ...], axes: Sequence[int]) -> tuple[int, int, int]:
    """Return the sizes before, of and behind the axes, which must lie side by side (those of size 1 don't matter)."""
    wide = [axis for axis in range(len(shape)) if shape[axis] > 1 and axis in axes]
    if not wide:
        return 1, 1, math.prod(shape)
    first, last = wide[0], wide[-1]
    if any(shape[axis] > 1 and axis not in axes for axis in range(first, last)):
        raise UnsupportedError(f"over axes {tuple(axes)} of {shape}, which do not lie side by side")
    return math.prod(shape[:first]), math.prod(shape[first : last + 1]), math.prod(shape[last + 1 :])


def _factors(state: Lowering, op: Operator, count: int) -> tuple[int, int, int, int, int]:
    """Return the output's zero point, the offset, multiplier and shift, and whether the largest is meant."""
    taken, out = state.tensor(op.inputs[0]), state.tensor(op.outputs[0])
    fixed, shift = multiplier(taken.scale / out.scale)
    if op.kind == "MEAN":
        up = min(count.bit_length() - 1, 32, 31 - shift)
        fixed, shift = (fixed << up) // count, shift + up
    return out.zero_point, count * taken.zero_point, fixed, shift, int(op.kind == "REDUCE_MAX")
