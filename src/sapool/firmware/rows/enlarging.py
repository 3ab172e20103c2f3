"""TRANSPOSE_CONV and RESIZE_BILINEAR: output rows between input rows."""

from __future__ import annotations

import math

import numpy as np

from sapool.firmware.requantize import channel_records, clamp_range, multiplier
from sapool.firmware.rows.lower import Lowering
from sapool.firmware.rows.parts import Blob, Layer, Read, UnsupportedError, Window
from sapool.tflite.graph import Operator
from sapool.tflite.options import window_options


def look_transposed(state: Lowering, op: Operator) -> tuple[int, ...]:
    """Name the tensor that a transposed convolution reads."""
    return (op.inputs[2],)


def lower_transposed(state: Lowering, op: Operator) -> None:
    """An output row needs the input rows that its kernel's rows fall on."""
    given, weights, out = op.inputs[2], state.tensor(op.inputs[1]), state.tensor(op.outputs[0])
    taken, how = state.tensor(given), window_options(op.options)
    if [taken.dtype, weights.dtype, out.dtype] != ["int8"] * 3 or weights.quantization is None:
        raise UnsupportedError(f"takes int8 activations and weights, got {taken.dtype} and {weights.dtype}")
    count, height, width, depth = weights.shape
    (rows, columns), (stride_h, stride_w) = out.shape[1:3], how.stride
    top = max((taken.shape[1] - 1) * stride_h + height - rows, 0) // 2 if how.same else 0
    left = max((taken.shape[2] - 1) * stride_w + width - columns, 0) // 2 if how.same else 0
    window = Window(height, stride_h, 1, top)
    shape = (taken.shape[2], depth, columns, count, height, width, stride_w, left)
    state.add_step(
        op,
        "transposed",
        (_between(state, given, rows, window),),
        rows,
        lambda: _transposed_layer(state, op, shape),
        window=window,
        macs=math.prod(taken.shape) * count * height * width,
    )


def _between(state: Lowering, given: int, tasks: int, window: Window) -> Read:
    rows = state.tensor(given).shape[1]
    low, high = [], []
    for task in range(tasks):
        falls = [task + window.top - tap for tap in range(window.taps)]
        found = [
            at // window.stride for at in falls if at >= 0 and at % window.stride == 0 and at // window.stride < rows
        ]
        low.append(min(found, default=0))
        high.append(max(found, default=-1) + 1)
    return state.read_listed(given, rows, low, high)


def _transposed_layer(state: Lowering, op: Operator, shape: tuple[int, ...]) -> Layer:
    taken, weights, out = state.tensor(op.inputs[2]), state.tensor(op.inputs[1]), state.tensor(op.outputs[0])
    if weights.constant is None or weights.quantization is None:
        raise UnsupportedError("its weights are computed, not constant")
    count = weights.shape[0]
    factors = [multiplier(taken.scale * scale / out.scale) for scale in weights.quantization.scales]
    factors = factors * count if len(factors) == 1 else factors
    place = op.inputs[3] if len(op.inputs) > 3 else -1
    values = state.tensor(place).values if place >= 0 else None
    biases = np.zeros(count, np.int64) if values is None else values.reshape(-1).astype(np.int64)
    raw = weights.constant.raw.view(np.int8)
    records = channel_records(biases, factors, raw.reshape(count, -1), 0)
    low, high = clamp_range(op.options.activation, out)
    blobs = (
        Blob("int8_t", raw, f"weights of {op.module}"),
        Blob("sapool_channel", records, f"channels of {op.module}"),
    )
    return Layer("sapool_transposed", (*blobs, *shape, taken.zero_point, out.zero_point, low, high))


def lower_bilinear(state: Lowering, op: Operator) -> None:
    """An output row needs the input rows before and behind it."""
    given, out = op.inputs[0], state.tensor(op.outputs[0])
    taken = state.tensor(given)
    if (taken.dtype, out.dtype) != ("int8", "int8"):
        raise UnsupportedError(f"takes int8, got {taken.dtype}")
    half, corners = op.options.flag("halfPixelCenters"), op.options.flag("alignCorners")
    rows = between(taken.shape[1], out.shape[1], half, corners)
    columns = between(taken.shape[2], out.shape[2], half, corners)
    read = state.read_listed(given, taken.shape[1], [r[0] for r in rows], [max(r[:2]) + 1 for r in rows])
    blobs = [Blob("int16_t", np.array(places).reshape(-1), "where rows and columns lie") for places in (rows, columns)]
    state.add_step(
        op,
        "resize",
        (read,),
        out.shape[1],
        lambda: Layer("sapool_resize", (*blobs, out.shape[2], out.shape[3])),
    )


def between(size: int, wanted: int, half: bool, corners: bool) -> list[tuple[int, int, int]]:
    """Return for each of ``wanted`` places the one before, the one behind, and 1024ths from the first."""
    scale = ((1 << 10) * size + wanted // 2) // wanted
    if corners and wanted > 1:
        scale = ((1 << 10) * (size - 1) + (wanted - 1) // 2) // (wanted - 1)
    places = []
    for n in range(wanted):
        at = n * scale + (scale // 2 - (1 << 9) if half else 0)
        low = min(max(int(at / (1 << 10)), 0), size - 1)
        high = min(int((at + (1 << 10) - 1) / (1 << 10)), size - 1)
        places.append((low, high, at - (low << 10)))
    return places
