"""A ``.tflite`` with the structure of a graph and no sense in its numbers.

What rewrites files can be tried on it before there is a file: sizes, lifetimes and bytes are those of the real one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sapool.tflite.arena_graph import ArenaGraph, ArenaOperator, ArenaTensor
from sapool.tflite.file import schema

_VERSION = 3
# Options whose name in the schema does not follow from the operator's.
_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "SUM": "ReducerOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "PADV2": "PadV2Options",
}


def skeleton_of(graph: ArenaGraph) -> Any:
    """Return a ``ModelT`` with the operators and tensors of ``graph``, which must have no subgraphs."""
    fb = schema()
    model = fb.ModelT()
    model.version, model.buffers, model.operatorCodes, model.metadata = _VERSION, [fb.BufferT()], [], []
    made = fb.SubGraphT()
    made.tensors = [_tensor(model, tensor, place) for place, tensor in enumerate(graph.tensors)]
    made.inputs, made.outputs = (np.array(places, np.int32) for places in (graph.inputs, graph.outputs))
    codes: dict[str, int] = {}
    made.operators = [_operator(model, operator, codes) for operator in graph.operators]
    model.subgraphs = [made]
    return model


def _tensor(model: Any, tensor: ArenaTensor, place: int) -> Any:
    fb = schema()
    made = fb.TensorT()
    made.name, made.shape = f"{tensor.name};{place}".encode(), np.array(tensor.shape, np.int32)
    made.type, made.buffer, made.isVariable = getattr(fb.TensorType, tensor.dtype.upper()), 0, tensor.variable
    if tensor.constant:
        made.buffer = len(model.buffers)
        model.buffers.append(fb.BufferT())
        model.buffers[-1].data = _numbers(tensor)
    if tensor.channels:
        made.quantization = fb.QuantizationParametersT()
        # No two constants are alike, unless they hold known numbers: nothing may take them for one.
        scale = 1.0 + place if tensor.constant else 1.0
        made.quantization.scale = np.full(tensor.channels, scale, np.float32)
        made.quantization.zeroPoint = np.zeros(tensor.channels, np.int64)
        made.quantization.quantizedDimension = len(tensor.shape) - 1 if tensor.shape[:1] == (1,) else 0
    return made


def _numbers(tensor: ArenaTensor) -> Any:
    if tensor.numbers:
        return np.frombuffer(np.array(tensor.numbers, np.int32).tobytes(), np.uint8)
    made = np.full(tensor.bytes, 1, np.uint8)
    if max(tensor.zeros) > 0:  # a kernel: (out, rows, columns, in)
        kernel = made.reshape(tensor.shape)
        rows, columns = (side - zeros for side, zeros in zip(tensor.shape[1:3], tensor.zeros, strict=True))
        kernel[:, rows:] = 0
        kernel[:, :, columns:] = 0
    return made


def _operator(model: Any, operator: ArenaOperator, codes: dict[str, int]) -> Any:
    fb = schema()
    if operator.kind not in codes:
        codes[operator.kind] = len(codes)
        model.operatorCodes.append(_code(operator.kind))
    made = fb.OperatorT()
    made.opcodeIndex = codes[operator.kind]
    made.inputs, made.outputs = (np.array(places, np.int32) for places in (operator.inputs, operator.outputs))
    words = "".join(word.capitalize() for word in operator.kind.split("_"))
    name = _OPTIONS.get(operator.kind, f"{words}Options")
    if hasattr(fb.BuiltinOptions, name):
        made.builtinOptionsType, made.builtinOptions = getattr(fb.BuiltinOptions, name), getattr(fb, f"{name}T")()
        for key, value in operator.options.items():
            setattr(made.builtinOptions, key, value)
    return made


def _code(kind: str) -> Any:
    fb = schema()
    code = fb.OperatorCodeT()
    known = getattr(fb.BuiltinOperator, kind, None)
    if known is None:
        code.builtinCode, code.customCode = fb.BuiltinOperator.CUSTOM, kind.encode()
    else:
        code.builtinCode = known
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
    return code
