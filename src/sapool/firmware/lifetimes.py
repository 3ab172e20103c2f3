"""When every buffer is alive, in a schedule: one bit a task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sapool.firmware.rows import Program, Read
from sapool.firmware.schedule import Schedule

Times = NDArray[np.int64]
ALIGNMENT = 4


@dataclass
class Rows:
    """When each row of a store is written and read for the last time."""

    written: Times
    released: Times

    def depth(self) -> int:
        """Return how many rows a ring must have."""
        oldest = np.searchsorted(np.maximum.accumulate(self.released), self.written)
        return int((np.arange(len(self.written)) - oldest).max()) + 1

    def intervals(self) -> list[tuple[int, int]]:
        """Return the times (first, last) in which any row is alive, merged."""
        found: list[tuple[int, int]] = []
        for start, end in sorted(zip(self.written.tolist(), self.released.tolist(), strict=True)):
            if found and start <= found[-1][1] + 1:
                found[-1] = (found[-1][0], max(found[-1][1], end))
            else:
                found.append((start, end))
        return found


@dataclass(frozen=True)
class Buffer:
    """Bytes that a program needs in RAM at some times.

    Attributes:
        bytes: of all its rows.
        depth: rows.
        stores: which share it, row by row.
        step: whose scratch or state it is; -1 for rows.
        alive: one bit a task.
        intervals: the same as times (first, last).
    """

    bytes: int
    depth: int
    stores: tuple[int, ...]
    step: int
    alive: int
    intervals: tuple[tuple[int, int], ...]
    is_state: bool = False


@dataclass(frozen=True)
class Clock:
    """Times of a schedule: one for every row that arrives, one for every task.

    Attributes:
        arrivals: of the image's rows.
        tasks: of every step's tasks.
        end: behind the last task: outputs live until then.
    """

    arrivals: Times
    tasks: tuple[Times, ...]
    end: int


def clock_of(program: Program, schedule: Schedule) -> Clock:
    """Return the times of a schedule."""
    tasks: list[list[int]] = [[] for _ in program.steps]
    arrivals, now = [], 0
    for push in schedule.pushes:
        arrivals.append(now)
        now += 1
        for n in push:
            tasks[n].append(now)
            now += 1
    if len(arrivals) == 1:
        arrivals *= program.stores[program.source].rows
    return Clock(np.array(arrivals), tuple(np.array(times) for times in tasks), now)


def rows_of(program: Program, clock: Clock, flat: frozenset[int]) -> list[Rows]:
    """Return when every store's rows live. Those in ``flat`` stay until nobody reads any of them."""
    held = [Rows(np.zeros(store.rows, np.int64), np.zeros(store.rows, np.int64)) for store in program.stores]
    held[program.source].written[:] = clock.arrivals
    held[program.source].released[:] = clock.arrivals
    for step, times in zip(program.steps, clock.tasks, strict=True):
        made = np.searchsorted(np.array(step.made), np.arange(program.stores[step.output].rows), side="right")
        held[step.output].written[:] = times[made]
        held[step.output].released[:] = times[made]
    for step, times in zip(program.steps, clock.tasks, strict=True):
        for read in step.reads:
            if read.store >= 0:
                _note(held[read.store].released, read, times)
    for output in program.outputs:
        held[output].released[:] = clock.end
    for place in flat:
        held[place].released[:] = held[place].released.max()
    return held


def _note(released: Times, read: Read, times: Times) -> None:
    """Note when a step reads rows for the last time."""
    if min(read.low) == max(read.low) and min(read.high) == max(read.high):
        part = released[read.low[0] : read.high[0]]
        np.maximum(part, times[-1], out=part)
        return
    for low, high, time in zip(read.low, read.high, times.tolist(), strict=True):
        if high == low + 1:
            if released[low] < time:
                released[low] = time
        elif high > low:
            part = released[low:high]
            np.maximum(part, time, out=part)


def flat_stores(program: Program, whole: frozenset[int]) -> frozenset[int]:
    """Return the stores whose rows must lie one behind the other: cuts, and what is read in one piece."""
    pieces = {read.store for step in program.steps for read in step.reads if read.flat and read.store >= 0}
    return frozenset(pieces | whole | set(program.outputs))


def buffers(program: Program, schedule: Schedule, whole: frozenset[int], stream: bool = True) -> list[Buffer]:
    """Return every buffer of a schedule, with rings as deep as they must be."""
    clock = clock_of(program, schedule)
    flat = flat_stores(program, whole | (frozenset() if stream else frozenset({program.source})))
    rows = rows_of(program, clock, flat)
    groups = _shared(program, rows, clock, flat)
    made = []
    for members in groups:
        joined = Rows(
            np.minimum.reduce([rows[n].written for n in members]),
            np.maximum.reduce([rows[n].released for n in members]),
        )
        count = program.stores[members[0]].rows if flat.intersection(members) else joined.depth()
        size = count * program.stores[members[0]].row_bytes
        made.append(_buffer(size, count, tuple(members), -1, joined.intervals()))
    for n, step in enumerate(program.steps):
        times = clock.tasks[n]
        if step.scratch:
            made.append(_buffer(step.scratch, 1, (), n, [(t, t) for t in times.tolist()]))
        if step.state:
            made.append(_buffer(step.state, 1, (), n, [(int(times[0]), int(times[-1]))], is_state=True))
    return made


def _buffer(
    size: int,
    depth: int,
    stores: tuple[int, ...],
    step: int,
    intervals: list[tuple[int, int]],
    is_state: bool = False,
) -> Buffer:
    alive = 0
    for start, end in intervals:
        alive |= ((1 << (end - start + 1)) - 1) << start
    return Buffer(-(-size // ALIGNMENT) * ALIGNMENT, depth, stores, step, alive, tuple(intervals), is_state)


def _shared(program: Program, rows: list[Rows], clock: Clock, flat: frozenset[int]) -> list[list[int]]:
    """Return groups of stores that share their bytes: a step in place writes over the row it was the last to read."""
    group = {n: [n] for n in (program.source, *(step.output for step in program.steps))}
    for step, times in zip(program.steps, clock.tasks, strict=True):
        choices = [step.reads[k] for k in step.in_place if _dies(program, rows, step.reads[k], step.output, times)]
        free = [read.store for read in choices if len(group[read.store]) == 0 or group[read.store][-1] == read.store]
        if not free:
            continue
        kept = max(free, key=lambda n: (int((rows[n].released - rows[n].written).sum()), -n))
        joined = group[kept]
        joined.append(step.output)
        group[step.output] = joined
    unique: dict[int, list[int]] = {id(members): members for members in group.values()}
    return list(unique.values())


def _dies(program: Program, rows: list[Rows], read: Read, output: int, times: Times) -> bool:
    """Whether a step is the last to read every row, so that its own row can take the place."""
    if read.store < 0 or read.store in program.outputs or read.flat:
        return False
    one, other = program.stores[read.store], program.stores[output]
    if (one.rows, one.row_bytes) != (other.rows, other.row_bytes):
        return False
    return bool((rows[read.store].released <= times).all())
