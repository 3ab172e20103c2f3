"""Which operators of a file see only what is near: the ones that can run tile by tile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sapool.passes.tiling.regions import POINTWISE, Taps
from sapool.tflite import Graph, Operator, Tensor, WindowOptions, window_options
from sapool.tflite.padding import same_padding_before

_TYPES = ("float32", "int8")
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_POOLS = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D")
# Each output element depends on the input elements at its own place alone.
_ELEMENTWISE = frozenset(
    (
        *("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "PRELU"),
        *("RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "ELU", "HARD_SWISH", "LOGISTIC", "TANH", "EXP", "LOG"),
        *("ABS", "NEG", "SQRT", "RSQRT", "SQUARE", "QUANTIZE", "DEQUANTIZE"),
    )
)
Size = tuple[int, int]


@dataclass(frozen=True)
class LocalOperator:
    """An operator of the main graph with one map (1, H, W, C) as output, each element of which sees only near inputs.

    Attributes:
        place: in the execution order.
        reads: the computed tensors it reads, all of one height and width.
        made: the tensor it makes.
        taps: how it reads along rows and along columns.
        size: the output's height and width.
    """

    place: int
    reads: tuple[int, ...]
    made: int
    taps: tuple[Taps, Taps]
    size: Size

    @property
    def looks_around(self) -> bool:
        """Whether it sees more than one element, or skips some."""
        return self.taps != (POINTWISE, POINTWISE)


def local_operators(graph: Graph) -> tuple[LocalOperator, ...]:
    """Return a main graph's operators that can run tile by tile, in execution order."""
    found = (_local(graph, place, op) for place, op in enumerate(graph.operators))
    return tuple(one for one in found if one is not None)


def _local(graph: Graph, place: int, op: Operator) -> LocalOperator | None:
    tensors = graph.tensors
    reads = tuple(dict.fromkeys(t for t in op.inputs if t >= 0 and not graph.is_constant(t)))
    if len(op.outputs) != 1 or not reads:
        return None
    maps = [tensors[t] for t in (*reads, op.outputs[0])]
    if any(one.dtype not in _TYPES or one.variable for one in maps):
        return None
    shapes = [one.shape for one in maps]
    if any(len(shape) != 4 or shape[0] != 1 for shape in shapes) or len({shape[1:3] for shape in shapes[:-1]}) != 1:
        return None
    taps = _taps(graph, op, (shapes[0][1], shapes[0][2]))
    if taps is None:
        return None
    return LocalOperator(place, reads, op.outputs[0], taps, (shapes[-1][1], shapes[-1][2]))


def _taps(graph: Graph, op: Operator, size: Size) -> tuple[Taps, Taps] | None:
    """Return how an operator reads along rows and columns; None: not only near its own place."""
    tensors = graph.tensors
    if op.kind in _CONVOLUTIONS and graph.is_constant(op.inputs[1]):
        weights = tensors[op.inputs[1]]
        return _window_taps(window_options(op.options), weights.shape[1:3], size, _not_zero(weights))
    if op.kind in _POOLS:
        moves = window_options(op.options)
        return _window_taps(moves, moves.filter, size, moves.filter)
    if op.kind in ("PAD", "PADV2"):
        return _pad_taps(tensors[op.inputs[1]])
    constants = [t for t in op.inputs if graph.is_constant(t)]
    if op.kind == "CONCATENATION":
        return (POINTWISE, POINTWISE) if op.options.integer("axis") in (3, -1) and not constants else None
    if op.kind in _ELEMENTWISE:
        alike = all(math.prod(tensors[t].shape[-3:-1]) == 1 for t in constants)
        return (POINTWISE, POINTWISE) if alike else None
    return None


def _window_taps(moves: WindowOptions, kernel: Sequence[int], size: Size, read: Sequence[int]) -> tuple[Taps, Taps]:
    """Return the taps of a sliding window of which the first ``read`` rows and columns are not zero."""
    taps = []
    for axis in (0, 1):
        stride, dilation = moves.stride[axis], moves.dilation[axis]
        extent = (kernel[axis] - 1) * dilation + 1
        before = same_padding_before(size[axis], extent, stride) if moves.same else 0
        taps.append(Taps((read[axis] - 1) * dilation + 1, stride, before))
    return taps[0], taps[1]


def _not_zero(weights: Tensor) -> Size:
    """Return how many leading rows and columns of a kernel (out or 1, height, width, in or out) are not zero.

    Padding folded into a kernel leaves its last row and column zero: what they see need not be right.
    """
    values = weights.values
    zero_points = () if weights.quantization is None else weights.quantization.zero_points
    if values is None or values.ndim != 4 or weights.dtype not in _TYPES or any(zero_points):
        return weights.shape[1], weights.shape[2]
    used: NDArray[np.bool_] = np.any(values, axis=(0, 3))
    rows, columns = (int(np.flatnonzero(used.any(axis=other)).max(initial=0)) + 1 for other in (1, 0))
    return rows, columns


def _pad_taps(amounts: Tensor) -> tuple[Taps, Taps] | None:
    pads = amounts.integers
    return (Taps(1, 1, pads[2]), Taps(1, 1, pads[4])) if pads else None
