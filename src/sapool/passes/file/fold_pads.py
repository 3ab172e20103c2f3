"""PAD operators of a ``.tflite`` taken into the convolutions that read them, so that no padded copy of the map is made.

A convolution under SAME leaves out the taps that lie outside the map. PAD fills with the zero point, and a tap on the
zero point adds ``w (z - z) = 0`` to an integer sum: so PAD and VALID are SAME, to the bit, wherever SAME pads the same
way. Where it doesn't, zero rows and columns at the end or the start of the kernel move what SAME pads: they add nothing
either, as weights have zero point 0. The rows cost MACs and flash; they are counted.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from sapool.tflite.edit import FileGraph, is_plain
from sapool.tflite.file import is_constant, schema

_SAME, _VALID = 0, 1
# Where the rows and columns are in the weights: (out, kh, kw, in) and (1, kh, kw, out).
_ROWS = 1
_KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D")

# (zero rows before the kernel, zero rows behind it)
_Extra = tuple[int, int]


def fold_pads(model: Any) -> int:
    """Let every convolution behind a PAD read what the PAD reads, where that is the same; returns how many do."""
    if not is_plain(model):
        return 0
    graph = FileGraph(model)
    folded = 0
    for pad in graph.of_kind("PAD"):
        margins = _margins(graph, pad)
        for place in list(graph.readers[int(pad.outputs[0])]) if margins else ():
            op = graph.graph.operators[place]
            extra = _needed(graph, graph.kinds[place], op, int(pad.inputs[0]), margins)
            if extra is not None:
                _fold(graph, op, int(pad.inputs[0]), extra)
                folded += 1
    graph.refresh()
    graph.remove_unread()
    return folded


def _margins(graph: FileGraph, pad: Any) -> list[tuple[int, int]]:
    """Return (before, behind) of the rows and of the columns, or nothing if the PAD is of another kind."""
    sides, source = graph.integers(int(pad.inputs[1])), int(pad.inputs[0])
    if sides is None or len(sides) != 8 or not graph.same_values(source, int(pad.outputs[0])):
        return []
    batch, rows, columns, channels = (sides[2 * i : 2 * i + 2] for i in range(4))
    if any((*batch, *channels)) or min(sides) < 0:
        return []
    return [(rows[0], rows[1]), (columns[0], columns[1])]


def _needed(
    graph: FileGraph, kind: str, op: Any, source: int, margins: list[tuple[int, int]]
) -> tuple[_Extra, _Extra] | None:
    """Return the zero rows and columns with which a convolution under SAME is what it is behind the PAD."""
    if kind not in _KINDS or op.builtinOptions.padding != _VALID or not _has_plain_weights(graph, int(op.inputs[1])):
        return None
    options, weights = op.builtinOptions, graph.shape(int(op.inputs[1]))
    strides, dilations = (options.strideH, options.strideW), (options.dilationHFactor, options.dilationWFactor)
    before, after = graph.shape(source), graph.shape(int(op.outputs[0]))
    found: list[_Extra] = []
    for axis in range(2):
        extra = _extra_rows(
            before[1 + axis], weights[_ROWS + axis], after[1 + axis], margins[axis][0], strides[axis], dilations[axis]
        )
        if extra is None:
            return None
        found.append(extra)
    return found[0], found[1]


def _has_plain_weights(graph: FileGraph, weights: int) -> bool:
    tensor, types = graph.graph.tensors[weights], schema().TensorType
    if tensor.type not in (types.INT8, types.FLOAT32) or not is_constant(graph.model, weights):
        return False
    zeros = None if tensor.quantization is None else tensor.quantization.zeroPoint
    return tensor.sparsity is None and (zeros is None or not np.any(zeros))


def _extra_rows(size: int, kernel: int, outputs: int, before: int, stride: int, dilation: int) -> _Extra | None:
    """Return the fewest zero rows that make SAME pad ``before`` rows in front of the kernel's own first one.

    Args:
        size: of the map without padding.
        kernel: its rows.
        outputs: rows of the result, which must stay.
        before: rows of zeros in front of the map.
        stride: of the convolution.
        dilation: of the kernel; a dilated one is not enlarged.
    """
    if -(-size // stride) != outputs:
        return None
    for count in range(stride + 2 * before + kernel if dilation == 1 else 1):
        reach = (kernel + count - 1) * dilation + 1
        front = max((outputs - 1) * stride + reach - size, 0) // 2 - before
        if 0 <= front <= count:
            return front, count - front
    return None


def _fold(graph: FileGraph, op: Any, source: int, extra: tuple[_Extra, _Extra]) -> None:
    inputs = [int(t) for t in op.inputs]
    inputs[0] = source
    if any(any(side) for side in extra):
        inputs[1] = _enlarged(graph, inputs[1], extra)
    op.inputs, op.builtinOptions.padding = inputs, _SAME


def _enlarged(graph: FileGraph, weights: int, extra: tuple[_Extra, _Extra]) -> int:
    """Add the weights with zero rows and columns around them as a new constant; returns its place."""
    tensor = copy.copy(graph.graph.tensors[weights])
    dtype = np.int8 if tensor.type == schema().TensorType.INT8 else np.float32
    data = np.asarray(graph.model.buffers[tensor.buffer].data, np.uint8).view(dtype).reshape(graph.shape(weights))
    padded = np.pad(data, ((0, 0), *extra, (0, 0)))
    buffer = schema().BufferT()
    buffer.data = np.frombuffer(padded.tobytes(), np.uint8)
    graph.model.buffers.append(buffer)
    tensor.shape, tensor.buffer = list(padded.shape), len(graph.model.buffers) - 1
    graph.graph.tensors.append(tensor)
    return len(graph.graph.tensors) - 1
