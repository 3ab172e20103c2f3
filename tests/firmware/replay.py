"""A program's memory, row by row: what a schedule and a plan do to every byte, and what each task would find there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sapool.firmware.plan import Plan
from sapool.firmware.rows import Program, Read
from sapool.firmware.schedule import Schedule


def check_order(program: Program, schedule: Schedule, *, stream: bool = True) -> None:
    """Assert that every task runs once, and none before the rows it reads are made."""
    made = [0] * len(program.stores)
    done = [0] * len(program.steps)
    rows = program.stores[program.source].rows
    assert len(schedule.pushes) == (rows if stream else 1)
    for row, push in enumerate(schedule.pushes):
        made[program.source] = row + 1 if stream else rows
        for n in push:
            step = program.steps[n]
            for read in step.reads:
                if read.store >= 0 and read.high[done[n]] > read.low[done[n]]:
                    assert read.high[done[n]] <= made[read.store], (n, done[n])
            made[step.output] = max(made[step.output], step.made[done[n]])
            done[n] += 1
    assert done == [step.tasks for step in program.steps]


def apart(buffers: Sequence[int]) -> list[int]:
    """Return offsets of buffers of these sizes, one behind the other."""
    return [sum(buffers[:n]) for n in range(len(buffers))]


class Replay:
    """An arena whose every word says which row, scratch or state wrote it last."""

    def __init__(self, program: Program, schedule: Schedule, plan: Plan, *, stream: bool = True) -> None:
        self.program, self.schedule, self.stream = program, schedule, stream
        self.arena = np.full(plan.bytes, -1, np.int64)
        self.place: dict[int, tuple[int, int]] = {}
        self.scratch: dict[int, tuple[int, int]] = {}
        self.state: dict[int, tuple[int, int]] = {}
        for buffer, offset in zip(plan.buffers, plan.offsets, strict=True):
            self.place |= dict.fromkeys(buffer.stores, (offset, buffer.depth))
            if buffer.step >= 0:
                (self.state if buffer.is_state else self.scratch)[buffer.step] = (offset, buffer.bytes)
        self.done = [0] * len(program.steps)

    def run(self) -> None:
        """Assert that every task finds what it reads, and that the outputs are there in the end."""
        rows = range(self.program.stores[self.program.source].rows)
        for row, push in enumerate(self.schedule.pushes):
            for arrived in [row] if self.stream else rows:
                self._write(self.program.source, arrived)
            for n in push:
                self._task(n)
        for output in self.program.outputs:
            for row in range(self.program.stores[output].rows):
                self._find(output, row)

    def _bytes(self, store: int, row: int) -> slice:
        offset, depth = self.place[store]
        size = self.program.stores[store].row_bytes
        return slice(offset + row % depth * size, offset + (row % depth + 1) * size)

    def _write(self, store: int, row: int) -> None:
        self.arena[self._bytes(store, row)] = store * 10_000 + row

    def _find(self, store: int, row: int) -> None:
        assert (self.arena[self._bytes(store, row)] == store * 10_000 + row).all(), (store, row)

    def _find_all(self, reads: Sequence[Read], task: int) -> None:
        for read in reads:
            if read.store >= 0:
                for row in range(read.low[task], read.high[task]):
                    self._find(read.store, row)

    def _task(self, n: int) -> None:
        step, task = self.program.steps[n], self.done[n]
        if n in self.scratch:
            start, size = self.scratch[n]
            self.arena[start : start + size] = -2 - n
        if n in self.state and task == 0:
            start, size = self.state[n]
            self.arena[start : start + size] = -20_000 - n
        self._find_all(step.reads, task)
        for row in range(step.made[task - 1] if task else 0, step.made[task]):
            self._write(step.output, row)
        # A kernel reads on while it writes, except where it may write over what it reads.
        self._find_all([read for k, read in enumerate(step.reads) if k not in step.in_place], task)
        if n in self.scratch:
            start, size = self.scratch[n]
            assert (self.arena[start : start + size] == -2 - n).all()
        if n in self.state:
            start, size = self.state[n]
            assert (self.arena[start : start + size] == -20_000 - n).all()
        self.done[n] += 1
