"""Adding tensors, constants and operators to a ``ModelT``."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.tflite.file import schema

# Operators that need no options of their own, and those whose options hold something.
_OPTIONS = {
    "ADD": "AddOptions",
    "CONCATENATION": "ConcatenationOptions",
    "DYNAMIC_UPDATE_SLICE": "DynamicUpdateSliceOptions",
    "FILL": "FillOptions",
    "LESS": "LessOptions",
    "SLICE": "SliceOptions",
    "WHILE": "WhileOptions",
}


def add_constant(model: Any, graph: Any, values: NDArray[Any], name: str, quantized_as: Any = None) -> int:
    """Add a constant of int32 or of another tensor's type and quantisation; returns its place in ``graph``."""
    fb = schema()
    buffer = fb.BufferT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor = fb.TensorT()
    tensor.type = fb.TensorType.INT32
    if quantized_as is not None:
        tensor = copy.copy(quantized_as)
    tensor.shape, tensor.shapeSignature = np.array(values.shape, np.int32), None
    tensor.buffer, tensor.name = len(model.buffers) - 1, name.encode()
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def add_tensor(graph: Any, shape: Sequence[int], name: str, kind: int | None = None, like: Any = None) -> int:
    """Add a computed tensor of a schema type (int32 by default), or typed and quantised ``like`` another."""
    fb = schema()
    tensor = copy.copy(like) if like is not None else fb.TensorT()
    if like is None:
        tensor.type = fb.TensorType.INT32 if kind is None else kind
    tensor.shape, tensor.shapeSignature = np.array(shape, np.int32), None
    tensor.buffer, tensor.name = 0, name.encode()  # buffer 0 is the format's empty one
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def operator(
    model: Any, kind: str, inputs: Sequence[int], outputs: Sequence[int], version: int = 1, **options: Any
) -> Any:
    """Return a new operator of a builtin ``kind``; ``options`` are set on the schema's options of that kind."""
    fb = schema()
    op = fb.OperatorT()
    op.opcodeIndex = _code(model, getattr(fb.BuiltinOperator, kind), version)
    op.inputs, op.outputs = [int(i) for i in inputs], [int(o) for o in outputs]
    if kind in _OPTIONS:
        op.builtinOptionsType = getattr(fb.BuiltinOptions, _OPTIONS[kind])
        op.builtinOptions = getattr(fb, f"{_OPTIONS[kind]}T")()
        for name, value in options.items():
            setattr(op.builtinOptions, name, value)
    return op


def _code(model: Any, builtin: int, version: int) -> int:
    for i, entry in enumerate(model.operatorCodes):
        if max(entry.builtinCode, entry.deprecatedBuiltinCode) == builtin and entry.version == version:
            return i
    entry = schema().OperatorCodeT()
    entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = builtin, min(builtin, 127), version
    model.operatorCodes.append(entry)
    return len(model.operatorCodes) - 1


def new_graph(model: Any, name: str) -> tuple[int, Any]:
    """Append an empty subgraph; returns its place in the file and itself."""
    graph = schema().SubGraphT()
    graph.tensors, graph.operators, graph.name = [], [], name.encode()
    model.subgraphs.append(graph)
    return len(model.subgraphs) - 1, graph


def reorder(graph: Any, order: Sequence[int], signatures: Sequence[Any] = ()) -> None:
    """Keep the tensors named in ``order``, in that order; every mention of them follows."""
    place = {old: new for new, old in enumerate(order)} | {-1: -1}
    graph.tensors = [graph.tensors[old] for old in order]
    graph.inputs = [place[int(t)] for t in graph.inputs]
    graph.outputs = [place[int(t)] for t in graph.outputs]
    for op in graph.operators:
        op.inputs = [place[int(t)] for t in op.inputs]
        op.outputs = [place[int(t)] for t in op.outputs]
    for signature in signatures:
        for named in (*(signature.inputs or ()), *(signature.outputs or ())):
            named.tensorIndex = place[int(named.tensorIndex)]
