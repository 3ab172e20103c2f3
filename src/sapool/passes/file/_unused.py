"""Leaving out what nothing in a ``.tflite`` uses.

The runtime keeps a record of every tensor in the list, and gives even one that no operator touches room in the head.
"""

from __future__ import annotations

from typing import Any


def drop_unused(model: Any) -> int:
    """Leave out tensors, buffers and operator codes that nothing uses; returns how many tensors and codes went."""
    dropped = sum(_drop_tensors(model, place) for place in range(len(model.subgraphs)))
    _drop_buffers(model)
    return dropped + _drop_codes(model)


def _drop_tensors(model: Any, place: int) -> int:
    """Leave out the tensors of one graph that neither its operators, its inputs and outputs, nor a signature names."""
    graph = model.subgraphs[place]
    signatures = [s for s in model.signatureDefs or [] if s.subgraphIndex == place]
    entries = [entry for s in signatures for entry in (*(s.inputs or []), *(s.outputs or []))]
    used = {int(t) for op in graph.operators for t in (*op.inputs, *op.outputs) if t >= 0}
    used |= {int(t) for t in (*graph.inputs, *graph.outputs)} | {int(entry.tensorIndex) for entry in entries}
    kept = sorted(used)
    new = {old: i for i, old in enumerate(kept)} | {-1: -1}
    for op in graph.operators:
        op.inputs, op.outputs = [new[int(t)] for t in op.inputs], [new[int(t)] for t in op.outputs]
    graph.inputs, graph.outputs = [new[int(t)] for t in graph.inputs], [new[int(t)] for t in graph.outputs]
    for entry in entries:
        entry.tensorIndex = new[int(entry.tensorIndex)]
    dropped = len(graph.tensors) - len(kept)
    graph.tensors = [graph.tensors[old] for old in kept]
    return dropped


def _drop_buffers(model: Any) -> None:
    """Keep the buffers of constants and metadata, and buffer 0, which the format wants empty: for all other tensors."""
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    for tensor in tensors:
        data = model.buffers[tensor.buffer].data
        tensor.buffer = tensor.buffer if data is not None and len(data) else 0
    owners = [*tensors, *(model.metadata or [])]
    kept = sorted({0, *(int(owner.buffer) for owner in owners)} | {int(i) for i in _metadata_buffers(model)})
    place = {old: new for new, old in enumerate(kept)}
    for owner in owners:
        owner.buffer = place[int(owner.buffer)]
    if model.metadataBuffer is not None:
        model.metadataBuffer = [place[i] for i in _metadata_buffers(model)]
    model.buffers = [model.buffers[old] for old in kept]


def _metadata_buffers(model: Any) -> list[int]:
    return [] if model.metadataBuffer is None else [int(i) for i in model.metadataBuffer]


def _drop_codes(model: Any) -> int:
    """Name every operator code once, and only those in use; returns how many went."""
    kept: list[Any] = []
    place: dict[tuple[object, ...], int] = {}
    for op in (op for graph in model.subgraphs for op in graph.operators):
        code = model.operatorCodes[op.opcodeIndex]
        builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
        key = (builtin, code.customCode)
        if key not in place:
            place[key] = len(kept)
            kept.append(code)
        kept[place[key]].version = max(kept[place[key]].version, code.version)
        op.opcodeIndex = place[key]
    dropped = len(model.operatorCodes) - len(kept)
    model.operatorCodes = kept
    return dropped
