"""PAD operators of a file taken into the convolutions that read them, so that no padded copy of the map is made.

A convolution under SAME leaves out the taps that lie outside the map. PAD fills with the zero point, and a tap on the
zero point adds ``w (z - z) = 0`` to an integer sum: so PAD and VALID are SAME, to the bit, wherever SAME pads the same
way. Where it doesn't, zero rows and columns at the end or the start of the kernel move what SAME pads: they add nothing
either, as weights have zero point 0. The rows cost MACs and flash; they are counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sapool.tflite import Graph, Operator, window_options
from sapool.tflite.edit import may_rewrite
from sapool.tflite.padding import SAME

# Where the rows and columns are in the weights: (out, kh, kw, in) and (1, kh, kw, out).
_ROWS = 1
_KINDS = ("CONV_2D", "DEPTHWISE_CONV_2D")

# (zero rows before the kernel, zero rows behind it)
_Extra = tuple[int, int]


def fold_pads(graph: Graph) -> int:
    """Let every convolution behind a PAD read what the PAD reads, where that is the same; returns how many do."""
    if not may_rewrite(graph):
        return 0
    folded = 0
    for _, pad in list(graph.of_kind("PAD")):
        margins = _margins(graph, pad)
        for place in graph.readers(pad.outputs[0]) if margins else ():
            op = graph.operators[place]
            extra = _needed(graph, op, pad.inputs[0], margins)
            if extra is not None:
                _fold(graph, place, pad.inputs[0], extra)
                folded += 1
    graph.remove_unread()
    return folded


def _margins(graph: Graph, pad: Operator) -> list[tuple[int, int]]:
    """Return (before, behind) of the rows and of the columns, or nothing if the PAD is of another kind."""
    sides, source = graph.tensors[pad.inputs[1]].integers, pad.inputs[0]
    if len(sides) != 8 or not graph.same_values(source, pad.outputs[0]):
        return []
    batch, rows, columns, channels = (sides[2 * i : 2 * i + 2] for i in range(4))
    if any((*batch, *channels)) or min(sides) < 0:
        return []
    return [(rows[0], rows[1]), (columns[0], columns[1])]


def _needed(
    graph: Graph, op: Operator, source: int, margins: Sequence[tuple[int, int]]
) -> tuple[_Extra, _Extra] | None:
    """Return the zero rows and columns with which a convolution under SAME is what it is behind the PAD."""
    if op.kind not in _KINDS or window_options(op.options).same or not _has_plain_weights(graph, op.inputs[1]):
        return None
    moves, weights = window_options(op.options), graph.tensors[op.inputs[1]].shape
    before, after = graph.tensors[source].shape, graph.tensors[op.outputs[0]].shape
    found: list[_Extra] = []
    for axis in range(2):
        extra = _extra_rows(
            before[1 + axis],
            weights[_ROWS + axis],
            after[1 + axis],
            margins[axis][0],
            moves.stride[axis],
            moves.dilation[axis],
        )
        if extra is None:
            return None
        found.append(extra)
    return found[0], found[1]


def _has_plain_weights(graph: Graph, weights: int) -> bool:
    tensor = graph.tensors[weights]
    zeros = () if tensor.quantization is None else tensor.quantization.zero_points
    stored = tensor.constant is not None and tensor.sparsity is None
    return stored and tensor.dtype in ("int8", "float32") and not any(zeros)


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


def _fold(graph: Graph, place: int, source: int, extra: tuple[_Extra, _Extra]) -> None:
    op = graph.operators[place]
    weights = op.inputs[1]
    if any(any(side) for side in extra):
        weights = _enlarged(graph, weights, extra)
    graph.change_operator(place, inputs=(source, weights, *op.inputs[2:]), options=op.options.changed(padding=SAME))


def _enlarged(graph: Graph, weights: int, extra: tuple[_Extra, _Extra]) -> int:
    """Add the weights with zero rows and columns around them as a new constant; returns its place."""
    tensor = graph.tensors[weights]
    if tensor.values is None:
        raise ValueError(f"weights must be constant, and tensor {tensor.name} is computed")
    return graph.add_constant(np.pad(tensor.values, ((0, 0), *extra, (0, 0))), tensor.name, tensor.quantization)
