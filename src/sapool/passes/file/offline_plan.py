"""A better plan of the arena than the runtime's greedy one, written into the file.

TensorFlow Lite Micro takes tensor offsets from a metadata entry ``OfflineMemoryAllocation``: int32 version (1), graph
(0), number of tensors, then one offset in bytes a tensor of the main graph, -1 where the runtime is to plan. Other
runtimes ignore it. Exact: no operator changes, and tensors share bytes only where no output bit can change.

Source: tensorflow/tflite-micro, ``docs/memory_management.md`` and ``micro_allocation_info.cc``.
"""

from __future__ import annotations

from sapool.memory.arena_plan import plan_arena
from sapool.memory.lifetimes import buffers_of, fixed_offsets
from sapool.memory.planners import greedy_offsets, head_of
from sapool.tflite import Graph

_ONLINE = -1


def plan_offline(graph: Graph, *, sharing: bool = True) -> int:
    """Write a plan into a main graph if it needs a smaller head than the present one.

    Args:
        graph: changed in place. With control flow it is left alone: the runtime would use the main graph's offsets for
            the tensors of every other.
        sharing: whether tensors may share bytes where no output bit changes (:mod:`sapool.memory.aliasing`).

    Returns:
        How many tensors were given an offset; 0 if there was nothing to gain.
    """
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
    graph.set_offline(offsets)
    return sum(offset >= 0 for offset in offsets)
