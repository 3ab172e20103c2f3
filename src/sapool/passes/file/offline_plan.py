"""A better plan of the arena than the runtime's greedy one, written into the file.

TensorFlow Lite Micro takes tensor offsets from a metadata entry ``OfflineMemoryAllocation``: int32 version (1), graph
(0), number of tensors, then one offset in bytes a tensor of the main graph, -1 where the runtime is to plan. Other
runtimes ignore it. Exact: no operator changes, and tensors share bytes only where no output bit can change.

Source: tensorflow/tflite-micro, ``docs/memory_management.md`` and ``micro_allocation_info.cc``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sapool.memory.arena_plan import plan_arena
from sapool.memory.lifetimes import buffers_of, fixed_offsets
from sapool.memory.planners import greedy_offsets, head_of
from sapool.tflite import OFFLINE
from sapool.tflite.file import schema
from sapool.tflite.read import graph_of

_VERSION, _GRAPH, _ONLINE = 1, 0, -1


def plan_offline(model: Any, *, sharing: bool = True) -> int:
    """Write a plan into ``model`` (a ``ModelT``) if it needs a smaller head than the present one.

    Args:
        model: changed in place. With several graphs it is left alone: the runtime would use the main graph's offsets
            for the tensors of every other.
        sharing: whether tensors may share bytes where no output bit changes (:mod:`sapool.memory.aliasing`).

    Returns:
        How many tensors were given an offset; 0 if there was nothing to gain.

    Raises:
        TfliteError: a tensor's shape or type is not known, so that nothing can be planned.
    """
    graph = graph_of(model)
    if graph.subgraphs:
        return 0
    buffers = buffers_of(graph)
    present = head_of(buffers, greedy_offsets(buffers, fixed_offsets(graph, buffers)))
    plan = plan_arena(graph, sharing=sharing)
    if head_of(buffers, plan) >= present:
        return 0
    offsets = [_ONLINE] * len(graph.tensors)
    for buffer, offset in zip(buffers, plan, strict=True):
        if buffer.tensor >= 0:
            offsets[buffer.tensor] = offset
    write_plan(model, offsets)
    return sum(offset >= 0 for offset in offsets)


def drop_plan(model: Any) -> bool:
    """Take the plan out of ``model`` (a ``ModelT``), which other passes would make wrong; returns whether one was."""
    entries = model.metadata or []
    model.metadata = [entry for entry in entries if entry.name != OFFLINE.encode()]
    return len(model.metadata) < len(entries)


def write_plan(model: Any, offsets: Sequence[int]) -> None:
    """Write one offset in bytes a tensor (-1: the runtime plans) into ``model`` (a ``ModelT`` with one graph)."""
    fb = schema()
    entries = [entry for entry in model.metadata or [] if entry.name != OFFLINE.encode()]
    replaced = [entry for entry in model.metadata or [] if entry.name == OFFLINE.encode()]
    if replaced:
        entry = replaced[-1]
    else:
        entry = fb.MetadataT()
        entry.name, entry.buffer = OFFLINE.encode(), len(model.buffers)
        buffer = fb.BufferT()
        buffer.offset = buffer.size = 0
        model.buffers.append(buffer)
    model.buffers[entry.buffer].data = np.array([_VERSION, _GRAPH, len(offsets), *offsets], "<i4").view(np.uint8)
    model.metadata = [*entries, entry]
