"""Bytes of scratch that each operator asks the arena's head for, on the runtime's reference kernels.

Source: the ``Prepare`` functions of tensorflow/tflite-micro's ``micro/kernels``; which of them the PyPI wheel runs was
checked in a debugger that stopped at every request.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from sapool.tflite import Graph, Operator, Tensor

_INT32, _INT64, _POINTER = 4, 8, 8
_CELL_STATE = 19  # the place of that input of an LSTM
_QUANTISED = ("int8", "uint8", "int16")
_Rule = Callable[[Graph, Operator], tuple[int, ...]]


def scratch_sizes(graph: Graph, operator: Operator) -> tuple[int, ...]:
    """Return the sizes in bytes, not aligned, of an operator's scratch buffers, in the order it asks for them."""
    rule = SCRATCH.get(operator.kind)
    return rule(graph, operator) if rule else ()


def _input(graph: Graph, operator: Operator, place: int) -> Tensor | None:
    """Return an input, or None where it is left out."""
    index = operator.inputs[place] if place < len(operator.inputs) else -1
    return graph.tensors[index] if index >= 0 else None


def _elements(tensor: Tensor | None) -> int:
    return math.prod(tensor.shape) if tensor else 0


def _output_elements(graph: Graph, operator: Operator) -> int:
    return math.prod(graph.tensors[operator.outputs[0]].shape)


def _axes(graph: Graph, operator: Operator) -> tuple[int, ...]:
    """A place in the input and the resolved axes, which every reduction takes."""
    taken, axes = _input(graph, operator, 0), _input(graph, operator, 1)
    return _INT32 * len(taken.shape if taken else ()), _INT32 * _elements(axes)


def _accumulating(graph: Graph, operator: Operator) -> tuple[int, ...]:
    """Before those, one 32-bit accumulator an output element where the input is quantised."""
    taken = _input(graph, operator, 0)
    sums = (_INT32 * _output_elements(graph, operator),) if taken and taken.dtype in _QUANTISED else ()
    return sums + _axes(graph, operator)


def _transpose_conv(graph: Graph, operator: Operator) -> tuple[int, ...]:
    """One accumulator an output element: 32-bit for int8, 64-bit for int16, whose 16-bit biases are widened too."""
    taken, bias = _input(graph, operator, 2), _input(graph, operator, 3)
    wide = {"int8": _INT32, "int16": _INT64}.get(taken.dtype if taken else "")
    if wide is None:
        return ()
    widened = (_INT64 * _elements(bias),) if wide == _INT64 and bias and bias.dtype == "int16" else ()
    return (wide * _output_elements(graph, operator), *widened)


def _mirror_pad(graph: Graph, operator: Operator) -> tuple[int, ...]:
    taken = _input(graph, operator, 0)
    return (_INT32 * len(taken.shape if taken else ()),) * 2


def _svdf(graph: Graph, operator: Operator) -> tuple[int, ...]:
    """One accumulator a filter, and where quantised one a unit too."""
    taken, filters = _input(graph, operator, 0), _input(graph, operator, 1)
    if taken is None or filters is None:
        return ()
    batch, count = taken.shape[0], filters.shape[0]
    sizes = (_INT32 * batch * count,)
    return (
        sizes
        if taken.dtype == "float32"
        else (*sizes, _INT32 * batch * (count // max(operator.options.integer("rank"), 1)))
    )


def _unpacked_weights(graph: Graph, operator: Operator) -> tuple[int, ...]:
    """4-bit weights are unpacked to a byte each."""
    weights = _input(graph, operator, 1)
    return (_elements(weights),) if weights and weights.dtype == "int4" else ()


def _lstm(graph: Graph, operator: Operator) -> tuple[int, ...]:
    """One buffer a gate, each of the cell state's size."""
    cell = _input(graph, operator, _CELL_STATE)
    return (cell.bytes if cell else 0,) * 4


# Kinds that are not here ask for none.
SCRATCH: Mapping[str, _Rule] = {
    "ADD_N": lambda graph, operator: (_POINTER * len(operator.inputs),),
    "CONV_2D": _unpacked_weights,
    "DEPTHWISE_CONV_2D": _unpacked_weights,
    "FULLY_CONNECTED": _unpacked_weights,
    "MEAN": _accumulating,
    "MIRROR_PAD": _mirror_pad,
    "REDUCE_ALL": _axes,
    "REDUCE_MAX": _axes,
    "REDUCE_MIN": _axes,
    "SUM": _accumulating,
    "SVDF": _svdf,
    "TRANSPOSE_CONV": _transpose_conv,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
}
