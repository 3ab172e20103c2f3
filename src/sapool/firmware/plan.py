"""Where every buffer lies in the program's RAM: first fit, in the best of several orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sapool.firmware.lifetimes import Buffer


@dataclass(frozen=True)
class Plan:
    """Offsets of buffers in one block of bytes."""

    buffers: tuple[Buffer, ...]
    offsets: tuple[int, ...]
    bytes: int


def alive_bytes(buffers: Sequence[Buffer]) -> int:
    """Return the most bytes alive at a time: no plan can need less."""
    return int(_alive(buffers).max())


def peak_time(buffers: Sequence[Buffer]) -> int:
    """Return the first time at which most bytes are alive."""
    return int(_alive(buffers).argmax())


def _alive(buffers: Sequence[Buffer]) -> NDArray[np.int64]:
    end = max((last for buffer in buffers for _, last in buffer.intervals), default=0)
    change = np.zeros(end + 2, np.int64)
    for buffer in buffers:
        for first, last in buffer.intervals:
            change[first] += buffer.bytes
            change[last + 1] -= buffer.bytes
    return change.cumsum()


_ORDERS: tuple[Callable[[Buffer], tuple[int, ...]], ...] = (
    lambda b: (-b.bytes, b.intervals[0][0]),
    lambda b: (-b.bytes * (b.intervals[-1][1] - b.intervals[0][0] + 1), b.intervals[0][0]),
    lambda b: (b.intervals[0][0], -b.bytes),
    lambda b: (-b.bytes * b.alive.bit_count(), b.intervals[0][0]),
    lambda b: (-b.intervals[-1][1], -b.bytes),
)


def place(buffers: Sequence[Buffer]) -> Plan:
    """Return the best plan found; stops at one that needs no more than is alive at a time."""
    bound = alive_bytes(buffers)
    best: Plan | None = None
    for order in _ORDERS:
        plan = _first_fit(buffers, order)
        if best is None or plan.bytes < best.bytes:
            best = plan
        if best.bytes == bound:
            break
    assert best is not None
    return best


def _first_fit(buffers: Sequence[Buffer], order: Callable[[Buffer], tuple[int, ...]]) -> Plan:
    offsets = [0] * len(buffers)
    placed: list[int] = []
    for n in sorted(range(len(buffers)), key=lambda n: (*order(buffers[n]), n)):
        wanted, offset = buffers[n], 0
        busy = sorted((offsets[m], offsets[m] + buffers[m].bytes) for m in placed if buffers[m].alive & wanted.alive)
        for start, end in busy:
            if start - offset >= wanted.bytes:
                break
            offset = max(offset, end)
        offsets[n] = offset
        placed.append(n)
    return Plan(
        tuple(buffers), tuple(offsets), max((o + b.bytes for o, b in zip(offsets, buffers, strict=True)), default=0)
    )
