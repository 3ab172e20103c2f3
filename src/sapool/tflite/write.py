"""From a :class:`Graph` to the bytes of a ``.tflite`` file."""

from __future__ import annotations

from typing import Any

import numpy as np

from sapool.tflite.file import pack, schema
from sapool.tflite.graph import Graph, Operator, Signature
from sapool.tflite.tensor import Constant, Tensor
from sapool.tflite.trailer import with_trailer

_VERSION = 3


def model_of(graph: Graph) -> Any:
    """Return a main graph as the schema's ``ModelT`` object."""
    return _Writer().model(graph)


def write_graph(graph: Graph) -> bytes:
    """Return the file of a main graph with its subgraphs, metadata, signatures and what stood behind it."""
    return with_trailer(pack(model_of(graph)), graph.trailer)


class _Writer:
    """Collects the buffers and operator codes that all graphs of a file share."""

    def __init__(self) -> None:
        self.schema = schema()
        self.buffers: list[Any] = [self.schema.BufferT()]  # the format's empty one
        self.places: dict[int, int] = {}
        self.codes: dict[tuple[str, bool, int], int] = {}
        self.operator_codes: list[Any] = []

    def model(self, graph: Graph) -> Any:
        model = self.schema.ModelT()
        model.version, model.description = _VERSION, graph.description.encode()
        model.subgraphs = [self.graph(one) for one in graph.graphs]
        model.metadata = [self.metadata(name, data) for name, data in graph.metadata.items()]
        model.signatureDefs = [self.signature(one) for one in graph.signatures]
        model.buffers, model.operatorCodes = self.buffers, self.operator_codes
        return model

    def graph(self, graph: Graph) -> Any:
        written = self.schema.SubGraphT()
        written.name = graph.name.encode()
        written.tensors = [self.tensor(tensor) for tensor in graph.tensors]
        written.inputs, written.outputs = np.array(graph.inputs, np.int32), np.array(graph.outputs, np.int32)
        written.operators = [self.operator(op) for op in graph.operators]
        return written

    def tensor(self, tensor: Tensor) -> Any:
        written = self.schema.TensorT()
        written.name, written.shape = tensor.name.encode(), np.array(tensor.shape, np.int32)
        written.type = getattr(self.schema.TensorType, tensor.dtype.upper())
        written.isVariable, written.hasRank = tensor.variable, True
        written.shapeSignature = np.array(tensor.signature, np.int32) if tensor.signature else None
        written.buffer = self.buffer(tensor.constant) if tensor.constant is not None else 0
        written.sparsity = tensor.sparsity
        if tensor.quantization is not None:
            written.quantization = self.schema.QuantizationParametersT()
            written.quantization.scale = np.array(tensor.quantization.scales, np.float32)
            written.quantization.zeroPoint = np.array(tensor.quantization.zero_points, np.int64)
            written.quantization.quantizedDimension = tensor.quantization.axis
        return written

    def buffer(self, constant: Constant) -> int:
        if id(constant) not in self.places:
            self.places[id(constant)] = self._append(constant.raw)
        return self.places[id(constant)]

    def _append(self, raw: Any) -> int:
        buffer = self.schema.BufferT()
        buffer.data = raw
        self.buffers.append(buffer)
        return len(self.buffers) - 1

    def operator(self, op: Operator) -> Any:
        written = self.schema.OperatorT()
        written.opcodeIndex = self.code(op)
        written.inputs, written.outputs = np.array(op.inputs, np.int32), np.array(op.outputs, np.int32)
        if op.intermediates:
            written.intermediates = np.array(op.intermediates, np.int32)
        if op.custom_options:
            written.customOptions = np.frombuffer(op.custom_options, np.uint8)
        table = op.options.table
        if table:
            filled = getattr(self.schema, f"{table}T")()
            for name, value in op.options.items():
                setattr(filled, name, np.array(value, np.int32) if isinstance(value, tuple) else value)
            second = not hasattr(self.schema.BuiltinOptions, table)
            kinds = self.schema.BuiltinOptions2 if second else self.schema.BuiltinOptions
            suffix = "2" if second else ""
            setattr(written, f"builtinOptions{suffix}Type", getattr(kinds, table))
            setattr(written, f"builtinOptions{suffix}", filled)
        return written

    def code(self, op: Operator) -> int:
        key = (op.kind, op.custom, op.version)
        if key not in self.codes:
            entry = self.schema.OperatorCodeT()
            custom = self.schema.BuiltinOperator.CUSTOM
            entry.builtinCode = custom if op.custom else getattr(self.schema.BuiltinOperator, op.kind, custom)
            if entry.builtinCode == custom:
                entry.customCode = op.kind.encode()
            entry.deprecatedBuiltinCode, entry.version = min(entry.builtinCode, 127), op.version
            self.codes[key] = len(self.operator_codes)
            self.operator_codes.append(entry)
        return self.codes[key]

    def metadata(self, name: str, data: bytes) -> Any:
        entry = self.schema.MetadataT()
        entry.name, entry.buffer = name.encode(), self._append(np.frombuffer(data, np.uint8))
        return entry

    def signature(self, one: Signature) -> Any:
        written = self.schema.SignatureDefT()
        written.signatureKey, written.subgraphIndex = one.key.encode(), one.graph
        written.inputs, written.outputs = self.named(one.inputs), self.named(one.outputs)
        return written

    def named(self, places: Any) -> list[Any]:
        entries = []
        for name, place in places.items():
            entry = self.schema.TensorMapT()
            entry.name, entry.tensorIndex = name.encode(), place
            entries.append(entry)
        return entries
