"""Where in the arena each buffer goes: TensorFlow Lite Micro's greedy planner."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ALIGNMENT = 16


@dataclass(frozen=True)
class Buffer:
    """Bytes that must lie somewhere in the arena's head from step ``first`` to step ``last``, both included.

    Step 0 is before the first operator and operator ``i`` is step ``i + 1``; where control flow runs other graphs,
    their operators count too (:func:`sapool.memory.lifetimes.spans_of`). A tensor that nothing uses lives at -1 alone.

    Attributes:
        size: in bytes, not yet aligned.
        first: the step that writes it (0 for an input of the model).
        last: the last step that reads it.
        tensor: its place in :attr:`Graph.tensors`, or -1 for an operator's scratch.
        operator: the operator whose scratch it is, or -1 for a tensor.
        subgraph: the graph that ``tensor`` or ``operator`` counts in (0: the main graph).
    """

    size: int
    first: int
    last: int
    tensor: int = -1
    operator: int = -1
    subgraph: int = 0


def aligned(size: int) -> int:
    """Round a size in bytes up to the runtime's alignment of buffers."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def greedy_offsets(buffers: Sequence[Buffer], fixed: Mapping[int, int] | None = None) -> tuple[int, ...]:
    """Place buffers as TensorFlow Lite Micro's GreedyMemoryPlanner does.

    Largest first, and of equal sizes the last added first; each goes into the first gap that is large enough between
    those that live at the same time.

    Args:
        buffers: in the order in which the runtime adds them.
        fixed: offsets in bytes that are given, by place in ``buffers``; these are placed first and never moved.

    Returns:
        One offset in bytes a buffer.
    """
    fixed = fixed or {}
    offsets = [0] * len(buffers)
    starts: list[int] = []
    placed: list[tuple[int, int, int, int]] = []  # (start, end, first, last), by start
    free = sorted((i for i in range(len(buffers)) if i not in fixed), key=lambda i: (-aligned(buffers[i].size), -i))
    for i in [*sorted(fixed), *free]:
        buffer = buffers[i]
        size, first, last = aligned(buffer.size), buffer.first, buffer.last
        offset = fixed[i] if i in fixed else _first_gap(placed, size, first, last)
        offsets[i] = offset
        place = bisect_right(starts, offset)
        starts.insert(place, offset)
        placed.insert(place, (offset, offset + size, first, last))
    return tuple(offsets)


def _first_gap(placed: list[tuple[int, int, int, int]], size: int, first: int, last: int) -> int:
    """Return the lowest offset between the buffers alive from ``first`` to ``last``; ``placed`` is sorted by start."""
    offset = 0
    for start, end, other_first, other_last in placed:
        if other_first <= last and first <= other_last:
            if start - offset >= size:
                break
            if end > offset:
                offset = end
    return offset


def head_of(buffers: Sequence[Buffer], offsets: Sequence[int]) -> int:
    """Return the bytes of the arena's head that a placement needs."""
    return max((offset + aligned(b.size) for b, offset in zip(buffers, offsets, strict=True)), default=0)


def live_bytes(buffers: Sequence[Buffer]) -> dict[int, int]:
    """Return the bytes alive at each step at which some buffer's life begins (aligned, as the runtime stores them)."""
    changes: dict[int, int] = {}
    for buffer in buffers:
        changes[buffer.first] = changes.get(buffer.first, 0) + aligned(buffer.size)
        changes[buffer.last + 1] = changes.get(buffer.last + 1, 0) - aligned(buffer.size)
    alive, total = {}, 0
    for step in sorted(changes):
        total += changes[step]
        alive[step] = total
    return alive


def lower_bound(buffers: Sequence[Buffer]) -> int:
    """Return the largest sum of bytes alive at one step: no placement can need less."""
    return max(live_bytes(buffers).values(), default=0)
