"""From a ``.tflite`` file to the :class:`ArenaGraph` that the arena depends on."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sapool.tflite.arena_graph import BYTES_OF, CALLED, ArenaGraph, ArenaOperator, ArenaTensor, called_graphs
from sapool.tflite.file import IDENTIFIER, TfliteError, load_tflite, parse, schema

OFFLINE = "OfflineMemoryAllocation"
_VERSION = 3


def read_arena_graph(source: str | Path | bytes) -> ArenaGraph:
    """Read what a ``.tflite`` file's arena depends on.

    Args:
        source: a path, or the file's bytes.

    Raises:
        TfliteError: no ``.tflite`` file, a damaged one, or one that the runtime can't plan (a shape that is not known).
        ImportError: the ``deploy`` extra is not installed.
    """
    if isinstance(source, bytes):
        return _read(source)
    data = load_tflite(source)
    try:
        return _read(data)
    except TfliteError as error:
        raise TfliteError(f"{source}: {error}") from error


def _read(data: bytes) -> ArenaGraph:
    if data[4:8] != IDENTIFIER:
        raise TfliteError(f"not a .tflite file: bytes 4 to 8 must be {IDENTIFIER!r}, got {data[4:8]!r}")
    try:
        return arena_graph_of(parse(data))
    except TfliteError:
        raise
    except Exception as error:  # the generated reader raises whatever a broken offset leads to
        raise TfliteError("a damaged .tflite file: its contents end or point outside the file") from error


def arena_graph_of(model: Any) -> ArenaGraph:
    """Return what the arena of the schema's ``ModelT`` object depends on.

    Raises:
        TfliteError: another version of the schema, no operators, or a tensor whose shape or type can't be planned.
    """
    if model.version != _VERSION:
        raise TfliteError(f"schema version {model.version}: only version {_VERSION} is supported")
    if not model.subgraphs or not model.subgraphs[0].operators:
        raise TfliteError("a .tflite file without operators")
    kinds = _operator_kinds(model)
    main, *others = (_one_graph(model, graph, kinds) for graph in model.subgraphs)
    tensors = sum(len(graph.tensors) for graph in (main, *others))
    graph = ArenaGraph(
        main.tensors, main.operators, main.inputs, main.outputs, tuple(others), _offline_offsets(model, tensors)
    )
    _check_calls(graph)
    return graph


def _one_graph(model: Any, graph: Any, kinds: list[str]) -> ArenaGraph:
    tensors = tuple(_tensor(model, tensor) for tensor in graph.tensors)
    read = ArenaGraph(
        tensors,
        tuple(_operator(operator, kinds[operator.opcodeIndex], tensors) for operator in graph.operators or ()),
        _places(graph.inputs),
        _places(graph.outputs),
    )
    used = {i for op in read.operators for i in (*op.inputs, *op.outputs)} | {*read.inputs, *read.outputs}
    for place in used - {-1}:
        if not 0 <= place < len(read.tensors):
            raise TfliteError(f"a damaged .tflite file: it uses tensor {place} of a graph with {len(read.tensors)}")
    return read


def _places(indices: Any) -> tuple[int, ...]:
    return tuple(int(i) for i in indices) if indices is not None else ()


def _operator_kinds(model: Any) -> list[str]:
    names = {code: name for name, code in vars(schema().BuiltinOperator).items() if isinstance(code, int)}
    kinds = []
    for entry in model.operatorCodes:
        code = max(entry.builtinCode, entry.deprecatedBuiltinCode)
        kinds.append(entry.customCode.decode() if entry.customCode else names.get(code, f"operator {code}"))
    return kinds


def _tensor(model: Any, tensor: Any) -> ArenaTensor:
    name = tensor.name.decode(errors="replace") if tensor.name else ""
    shape = _places(tensor.shape)
    signature = _places(tensor.shapeSignature)
    if any(n < 0 for n in shape):
        raise TfliteError(f"tensor {name} has the shape {shape}: every side must be known, export it with fixed shapes")
    if any(n < 0 for n in signature[1:]):
        raise TfliteError(
            f"tensor {name} has a shape that changes, {signature}: only the batch may, export it with fixed shapes"
        )
    names = {value: key.lower() for key, value in vars(schema().TensorType).items() if isinstance(value, int)}
    dtype = names.get(tensor.type, str(tensor.type))
    data = model.buffers[tensor.buffer].data
    constant = data is not None and len(data) > 0
    if dtype not in BYTES_OF and not constant:
        raise TfliteError(f"tensor {name} is of type {dtype}: known are {', '.join(BYTES_OF)}")
    return ArenaTensor(name, shape, dtype, constant, bool(tensor.isVariable), _channels(tensor.quantization))


def _channels(quantization: Any) -> int:
    """Count a tensor's scales; the runtime ignores a quantisation without a scale or without a zero point."""
    if quantization is None or quantization.scale is None or quantization.zeroPoint is None:
        return 0
    return len(quantization.scale) if len(quantization.zeroPoint) else 0


def _operator(operator: Any, kind: str, tensors: Sequence[ArenaTensor]) -> ArenaOperator:
    outputs = _places(operator.outputs)
    # The converter names a tensor after the module that makes it, with a number behind it.
    module = tensors[outputs[0]].name.partition(";")[0] if outputs and 0 <= outputs[0] < len(tensors) else ""
    return ArenaOperator(kind, _places(operator.inputs), outputs, _options(operator), module)


def _options(operator: Any) -> Mapping[str, Any]:
    chosen = operator.builtinOptions if operator.builtinOptions is not None else operator.builtinOptions2
    if chosen is None:
        return {}
    return {name: value for name, value in vars(chosen).items() if isinstance(value, bool | int | float | bytes)}


def _check_calls(graph: ArenaGraph) -> None:
    """Check that control flow names graphs of the file, and that none runs itself."""
    graphs = graph.graphs

    def visit(index: int, above: tuple[int, ...]) -> None:
        for operator in graphs[index].operators:
            for called in called_graphs(operator) if operator.kind in CALLED else ():
                if not 0 <= called < len(graphs):
                    raise TfliteError(f"{operator.kind} runs graph {called} of a file with {len(graphs)}")
                if called in (*above, index):
                    raise TfliteError(f"{operator.kind} of graph {index} runs graph {called}, which it is part of")
                visit(called, (*above, index))

    visit(0, ())


def _offline_offsets(model: Any, tensors: int) -> tuple[int, ...]:
    """Return the offsets of the file's OfflineMemoryAllocation: version, graph, count, then one a tensor."""
    found: tuple[int, ...] = ()
    for entry in model.metadata or ():
        if entry.name and entry.name.decode() == OFFLINE:
            data = model.buffers[entry.buffer].data
            raw = bytes(np.asarray(data, np.uint8)) if data is not None else b""
            count = struct.unpack_from("<i", raw, 8)[0] if len(raw) >= 12 else -1
            if count != tensors or len(raw) < 12 + 4 * count:
                raise TfliteError(f"{OFFLINE} must hold an offset for each of {tensors} tensors, got {max(count, 0)}")
            found = struct.unpack_from(f"<{count}i", raw, 12)
    return found
