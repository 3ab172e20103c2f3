"""Small ``.tflite`` files made by hand with the schema's objects: one operator, or a few."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sapool.tflite.file import pack, schema


@dataclass
class Tensor:
    """A tensor; ``data`` makes it a constant, ``scales`` quantise it (several: a channel each)."""

    shape: tuple[int, ...]
    dtype: str = "int8"
    data: Any = None
    scales: Sequence[float] = (0.5,)
    zero: int = 0
    dimension: int = 0
    variable: bool = False


@dataclass
class Op:
    """An operator; ``options`` are (schema class, fields)."""

    kind: str
    inputs: Sequence[int]
    outputs: Sequence[int]
    options: tuple[str, Mapping[str, Any]] | None = None


@dataclass
class Graph:
    tensors: list[Tensor]
    ops: list[Op]
    inputs: Sequence[int]
    outputs: Sequence[int]
    names: list[str] = field(default_factory=list)


def constant(values: Any, dtype: str = "int32") -> Tensor:
    array = np.asarray(values, dtype)
    return Tensor(array.shape, dtype, array, ())


def weights(*shape: int, dtype: str = "int8", channels: int = 1, dimension: int = 0) -> Tensor:
    scales = (0.1,) * channels if dtype != "float32" else ()
    return Tensor(shape, dtype, np.ones(shape, dtype), scales, dimension=dimension)


def build(*graphs: Graph, offline: Sequence[int] | None = None) -> bytes:
    """Pack graphs (the main one first) as a ``.tflite``, with an OfflineMemoryAllocation where asked."""
    fb = schema()
    model = fb.ModelT()
    model.version = 3
    empty = fb.BufferT()
    model.buffers = [empty]
    kinds: list[str] = []
    model.operatorCodes = []
    model.subgraphs = [_graph(model, graph, kinds) for graph in graphs]
    for kind in kinds:
        code = fb.OperatorCodeT()
        code.builtinCode = getattr(fb.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = 1
        model.operatorCodes.append(code)
    if offline is not None:
        entry = fb.MetadataT()
        entry.name, entry.buffer = b"OfflineMemoryAllocation", len(model.buffers)
        _add_buffer(model, np.frombuffer(struct.pack(f"<{3 + len(offline)}i", 1, 0, len(offline), *offline), np.uint8))
        model.metadata = [entry]
    return pack(model)


def _add_buffer(model: Any, data: Any) -> int:
    buffer = schema().BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def _graph(model: Any, graph: Graph, kinds: list[str]) -> Any:
    fb = schema()
    made = fb.SubGraphT()
    made.tensors = [_tensor(model, tensor, f"t{i}") for i, tensor in enumerate(graph.tensors)]
    made.inputs, made.outputs = np.array(graph.inputs, np.int32), np.array(graph.outputs, np.int32)
    made.operators = []
    for op in graph.ops:
        one = fb.OperatorT()
        if op.kind not in kinds:
            kinds.append(op.kind)
        one.opcodeIndex = kinds.index(op.kind)
        one.inputs, one.outputs = np.array(op.inputs, np.int32), np.array(op.outputs, np.int32)
        if op.options is not None:
            name, values = op.options
            one.builtinOptionsType = getattr(fb.BuiltinOptions, name)
            one.builtinOptions = getattr(fb, f"{name}T")()
            for key, value in values.items():
                if not hasattr(one.builtinOptions, key):
                    raise AttributeError(f"{name} has no {key}")
                setattr(one.builtinOptions, key, value)
        made.operators.append(one)
    return made


def _tensor(model: Any, tensor: Tensor, name: str) -> Any:
    fb = schema()
    made = fb.TensorT()
    made.name, made.shape, made.isVariable = name.encode(), np.array(tensor.shape, np.int32), tensor.variable
    made.type = getattr(fb.TensorType, tensor.dtype.upper())
    made.buffer = 0 if tensor.data is None else _add_buffer(model, tensor.data)
    if len(tensor.scales) and tensor.dtype not in ("float32", "bool", "int64"):
        made.quantization = fb.QuantizationParametersT()
        made.quantization.scale = np.array(tensor.scales, np.float32)
        made.quantization.zeroPoint = np.full(len(tensor.scales), tensor.zero, np.int64)
        made.quantization.quantizedDimension = tensor.dimension
    return made


def single(kind: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *options: Any) -> Graph:
    """A graph of one operator; inputs that are not constant are the model's inputs."""
    tensors = [*inputs, *outputs]
    op = Op(kind, range(len(inputs)), range(len(inputs), len(tensors)), (options[0], options[1]) if options else None)
    fed = [i for i, t in enumerate(inputs) if t.data is None and not t.variable]
    return Graph(tensors, [op], fed, range(len(inputs), len(tensors)))
