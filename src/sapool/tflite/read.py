"""From a ``.tflite`` file to its :class:`Graph`."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from sapool.tflite.file import IDENTIFIER, TfliteError, load_tflite, parse, schema
from sapool.tflite.graph import Graph, Operator, Signature
from sapool.tflite.options import Options, OptionValue
from sapool.tflite.tensor import BYTES_OF, Constant, Quantization, Tensor
from sapool.tflite.trailer import trailer_of
from sapool.tflite.verify import verify

_VERSION = 3


def read_graph(source: str | Path | bytes, *, fixed: bool = True) -> Graph:
    """Read a ``.tflite`` file.

    Args:
        source: a path, or the file's bytes.
        fixed: whether every side of every tensor must be known; a side that is not is negative.

    Raises:
        TfliteError: no ``.tflite`` file, a damaged one, or one that the runtime can't plan (a shape that is not known).
        ImportError: the ``deploy`` extra is not installed.
    """
    if isinstance(source, bytes):
        return _read(source, fixed)
    data = load_tflite(source)
    try:
        return _read(data, fixed)
    except TfliteError as error:
        raise TfliteError(f"{source}: {error}") from error


def _read(data: bytes, fixed: bool) -> Graph:
    if data[4:8] != IDENTIFIER:
        raise TfliteError(f"not a .tflite file: bytes 4 to 8 must be {IDENTIFIER!r}, got {data[4:8]!r}")
    try:
        graph = graph_of(parse(data), fixed)
    except TfliteError:
        raise
    except Exception as error:  # the generated reader raises whatever a broken offset leads to
        raise TfliteError("a damaged .tflite file: its contents end or point outside the file") from error
    graph.trailer = trailer_of(data)
    return graph


def graph_of(model: Any, fixed: bool = True) -> Graph:
    """Return the graphs of the schema's ``ModelT`` object, its constants inline.

    Raises:
        TfliteError: another version of the schema, no operators, or a tensor whose shape or type can't be planned.
    """
    if model.version != _VERSION:
        raise TfliteError(f"schema version {model.version}: only version {_VERSION} is supported")
    if not model.subgraphs or not model.subgraphs[0].operators:
        raise TfliteError("a .tflite file without operators")
    constants = [_constant(buffer) for buffer in model.buffers]
    main, *others = (_one_graph(model, graph, constants) for graph in model.subgraphs)
    main.subgraphs = others
    main.description = _text(model.description)
    main.signatures = tuple(_signature(one) for one in model.signatureDefs or ())
    for entry in model.metadata or ():
        held = constants[entry.buffer]
        main.metadata[_text(entry.name)] = b"" if held is None else held.raw.tobytes()
    verify(main, fixed)
    return main


def _constant(buffer: Any) -> Constant | None:
    return None if buffer.data is None or len(buffer.data) == 0 else Constant(np.asarray(buffer.data, np.uint8))


def _one_graph(model: Any, graph: Any, constants: list[Constant | None]) -> Graph:
    tensors = tuple(_tensor(tensor, constants) for tensor in graph.tensors)
    operators = [_operator(op, model.operatorCodes[op.opcodeIndex], tensors) for op in graph.operators or ()]
    return Graph(tensors, operators, _places(graph.inputs), _places(graph.outputs), name=_text(graph.name))


def _places(indices: Any) -> tuple[int, ...]:
    return tuple(int(i) for i in indices) if indices is not None else ()


def _text(raw: bytes | None) -> str:
    return raw.decode(errors="replace") if raw else ""


@cache
def _names(table: str) -> dict[int, str]:
    return {code: name for name, code in vars(getattr(schema(), table)).items() if isinstance(code, int)}


def _tensor(tensor: Any, constants: list[Constant | None]) -> Tensor:
    name, shape, signature = _text(tensor.name), _places(tensor.shape), _places(tensor.shapeSignature)
    dtype = _names("TensorType").get(tensor.type, f"type {tensor.type}").lower()
    constant = constants[tensor.buffer]
    if dtype not in BYTES_OF and (constant is None or tensor.type not in _names("TensorType")):
        raise TfliteError(f"tensor {name} is of type {dtype}: known are {', '.join(BYTES_OF)}")
    quantization = _quantization(tensor.quantization)
    variable = bool(tensor.isVariable)
    return Tensor(name, shape, dtype, quantization, constant, variable, signature, tensor.sparsity)


def _quantization(found: Any) -> Quantization | None:
    """Return a tensor's quantisation; the runtime ignores one without a scale or without a zero point."""
    if found is None or found.scale is None or found.zeroPoint is None:
        return None
    if not len(found.scale) or not len(found.zeroPoint):
        return None
    zeros = tuple(int(zero) for zero in found.zeroPoint)
    return Quantization(tuple(float(scale) for scale in found.scale), zeros, int(found.quantizedDimension))


def _operator(op: Any, code: Any, tensors: tuple[Tensor, ...]) -> Operator:
    builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
    custom = bool(code.customCode)
    kind = _text(code.customCode) if custom else _names("BuiltinOperator").get(builtin, f"operator {builtin}")
    inputs, outputs, intermediates = (_places(places) for places in (op.inputs, op.outputs, op.intermediates))
    # The converter names a tensor after the module that makes it, with a number behind it.
    module = tensors[outputs[0]].name.partition(";")[0] if outputs and 0 <= outputs[0] < len(tensors) else ""
    custom_options = b"" if op.customOptions is None else bytes(np.asarray(op.customOptions, np.uint8))
    version = int(code.version)
    return Operator(kind, inputs, outputs, _options(op), custom, custom_options, version, module, intermediates)


def _options(op: Any) -> Options:
    chosen = op.builtinOptions if op.builtinOptions is not None else op.builtinOptions2
    if chosen is None:
        return Options()
    table = re.sub(r"T$", "", type(chosen).__name__)
    return Options(table, **{name: _option(value) for name, value in vars(chosen).items()})


def _option(value: Any) -> OptionValue:
    if value is None or isinstance(value, bool | int | float | bytes | str):
        return value
    return tuple(int(n) for n in value)


def _signature(found: Any) -> Signature:
    inputs = {_text(one.name): int(one.tensorIndex) for one in found.inputs or ()}
    outputs = {_text(one.name): int(one.tensorIndex) for one in found.outputs or ()}
    return Signature(_text(found.signatureKey), int(found.subgraphIndex), inputs, outputs)
