"""Which operators of a ``.tflite`` see only what is near: the ones that can run tile by tile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.passes.tiling.regions import POINTWISE, Taps
from sapool.tflite.file import is_constant, operator_names
from sapool.tflite.padding import same_padding_before

_SAME = 0  # the schema's Padding.SAME
_FLOAT32, _INT64, _INT8 = 0, 4, 9  # its TensorType
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


def shape_of(tensor: Any) -> tuple[int, ...]:
    """Return a tensor's shape; () for a scalar."""
    return tuple(int(n) for n in tensor.shape) if tensor.shape is not None else ()


def local_operators(model: Any) -> tuple[LocalOperator, ...]:
    """Return the operators of a ``ModelT``'s main graph that can run tile by tile, in execution order."""
    graph = model.subgraphs[0]
    found = (
        _local(model, place, name, op)
        for place, (name, op) in enumerate(zip(operator_names(model), graph.operators, strict=True))
    )
    return tuple(one for one in found if one is not None)


def _local(model: Any, place: int, name: str, op: Any) -> LocalOperator | None:
    tensors = model.subgraphs[0].tensors
    reads = tuple(dict.fromkeys(int(t) for t in op.inputs if t >= 0 and not is_constant(model, t)))
    if len(op.outputs) != 1 or not reads:
        return None
    shapes = [shape_of(tensors[t]) for t in (*reads, op.outputs[0])]
    if any(tensors[t].type not in (_FLOAT32, _INT8) for t in (*reads, op.outputs[0])):
        return None
    if any(len(shape) != 4 or shape[0] != 1 for shape in shapes) or len({shape[1:3] for shape in shapes[:-1]}) != 1:
        return None
    taps = _taps(model, name, op, (shapes[0][1], shapes[0][2]))
    if taps is None:
        return None
    return LocalOperator(place, reads, int(op.outputs[0]), taps, (shapes[-1][1], shapes[-1][2]))


def _taps(model: Any, name: str, op: Any, size: Size) -> tuple[Taps, Taps] | None:
    """Return how an operator reads along rows and columns; None: not only near its own place."""
    tensors = model.subgraphs[0].tensors
    if name in _CONVOLUTIONS and is_constant(model, op.inputs[1]):
        weights, options = tensors[op.inputs[1]], op.builtinOptions
        dilation = (int(options.dilationHFactor), int(options.dilationWFactor))
        return _window_taps(options, shape_of(weights)[1:3], dilation, size, _not_zero(model, weights))
    if name in _POOLS:
        kernel = (int(op.builtinOptions.filterHeight), int(op.builtinOptions.filterWidth))
        return _window_taps(op.builtinOptions, kernel, (1, 1), size, kernel)
    if name in ("PAD", "PADV2"):
        return _pad_taps(model, op)
    if name == "CONCATENATION":
        channels = op.builtinOptions.axis in (3, -1) and not any(is_constant(model, t) for t in op.inputs)
        return (POINTWISE, POINTWISE) if channels else None
    if name in _ELEMENTWISE:
        constants = [shape_of(tensors[t]) for t in op.inputs if t >= 0 and is_constant(model, t)]
        return (POINTWISE, POINTWISE) if all(math.prod(shape[-3:-1]) == 1 for shape in constants) else None
    return None


def _window_taps(
    options: Any, kernel: Sequence[int], dilation: Sequence[int], size: Size, read: Sequence[int]
) -> tuple[Taps, Taps]:
    """Return the taps of a sliding window of which the first ``read`` rows and columns are not zero."""
    strides = (int(options.strideH), int(options.strideW))
    taps = []
    for axis in (0, 1):
        extent = (kernel[axis] - 1) * dilation[axis] + 1
        before = same_padding_before(size[axis], extent, strides[axis]) if options.padding == _SAME else 0
        taps.append(Taps((read[axis] - 1) * dilation[axis] + 1, strides[axis], before))
    return taps[0], taps[1]


def _not_zero(model: Any, weights: Any) -> Size:
    """Return how many leading rows and columns of a kernel (out or 1, height, width, in or out) are not zero.

    Padding folded into a kernel leaves its last row and column zero: what they see need not be right.
    """
    shape = shape_of(weights)
    if weights.type not in (_FLOAT32, _INT8) or _zero_points(weights):
        return shape[1], shape[2]
    kind = np.float32 if weights.type == _FLOAT32 else np.int8
    data = np.asarray(model.buffers[weights.buffer].data, np.uint8)
    used: NDArray[np.bool_] = np.any(np.frombuffer(data.tobytes(), kind).reshape(shape), axis=(0, 3))
    rows, columns = (int(np.flatnonzero(used.any(axis=other)).max(initial=0)) + 1 for other in (1, 0))
    return rows, columns


def _zero_points(weights: Any) -> bool:
    """Whether the stored number 0 stands for something else."""
    quantization = weights.quantization
    return quantization is not None and quantization.zeroPoint is not None and bool(np.any(quantization.zeroPoint))


def _pad_taps(model: Any, op: Any) -> tuple[Taps, Taps] | None:
    if not is_constant(model, op.inputs[1]):
        return None
    tensor = model.subgraphs[0].tensors[op.inputs[1]]
    data = np.asarray(model.buffers[tensor.buffer].data, np.uint8).tobytes()
    pads = np.frombuffer(data, np.int64 if tensor.type == _INT64 else np.int32).reshape(-1, 2)
    return (Taps(1, 1, int(pads[1, 0])), Taps(1, 1, int(pads[2, 0])))
