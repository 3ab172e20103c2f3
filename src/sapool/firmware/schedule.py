"""In which order row tasks run: simulated once here, repeated exactly by the generated code.

Whenever a row is pushed, the deepest step that can run runs, again and again, so that rows die as early as they can. A
step whose inputs are all kept whole could run at any time: it waits until the result, going backwards from the
network's output, cannot do without its next row. So query projections wait for whole keys, and scores exist a row at a
time.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection
from dataclasses import dataclass

from sapool.firmware.rows import Program, Read


@dataclass(frozen=True)
class Schedule:
    """Steps by place, one entry a task, of every push of a row.

    Attributes:
        pushes: the tasks of each; one push for an image that comes whole.
    """

    pushes: tuple[tuple[int, ...], ...]


class _Needs:
    """What a step waits for: (store, all its rows), and (store, rows that must be there before each task)."""

    def __init__(self, reads: list[Read], waited: list[bool], rows: list[int]) -> None:
        pairs = list(zip(reads, waited, strict=True))
        self.whole = [(read.store, rows[read.store]) for read, waits in pairs if waits]
        self.parts = [
            (read.store, [high if high > low else 0 for low, high in zip(read.low, read.high, strict=True)])
            for read, waits in pairs
            if not waits
        ]


class _Edges:
    """What the simulation asks again and again, looked up once."""

    def __init__(self, program: Program, whole: Collection[int]) -> None:
        steps = program.steps
        self.maker = {step.output: n for n, step in enumerate(steps)}
        self.reads = [[read for read in step.reads if read.store >= 0] for step in steps]
        self.held = {read.store for reads in self.reads for read in reads if read.whole} | set(whole)
        self.readers: dict[int, list[int]] = {n: [] for n in range(len(program.stores))}
        for n, reads in enumerate(self.reads):
            for read in reads:
                self.readers[read.store].append(n)
        # Those that a step can't start without having all of.
        self.waited = [[read.whole or read.store in set(whole) for read in reads] for reads in self.reads]
        rows = [store.rows for store in program.stores]
        self.needs = [_Needs(reads, waited, rows) for reads, waited in zip(self.reads, self.waited, strict=True)]
        self.tasks = [step.tasks for step in steps]


def _phases(program: Program, edges: _Edges) -> list[int]:
    """Return how many whole tensors must be waited for before each step, as late as costs no memory."""
    phases: list[int] = []
    for reads in edges.reads:
        before = [phases[edges.maker[r.store]] if r.store in edges.maker else 0 for r in reads]
        waited = edges.waited[len(phases)]
        phases.append(max((p + w for p, w in zip(before, waited, strict=True)), default=0))
    for n in reversed(range(len(phases))):
        later = [phases[reader] for reader in edges.readers[program.steps[n].output]]
        if later and min(later) > phases[n] and all(read.store in edges.held for read in edges.reads[n]):
            phases[n] = min(later)
    return phases


def _ranks(program: Program, edges: _Edges) -> list[int]:
    """Return each step's depth: of those that can run, the one with the highest goes first.

    What leads to a tensor that is waited for is less deep than what doesn't, or the rows that the others still need
    would stay alive through everything behind it.
    """
    phases, steps = _phases(program, edges), program.steps
    leads = [False] * len(steps)
    for n in reversed(range(len(steps))):
        for reader in edges.readers[steps[n].output]:
            pairs = zip(edges.reads[reader], edges.waited[reader], strict=True)
            waited = any(waits for read, waits in pairs if read.store == steps[n].output)
            leads[n] |= waited or (phases[reader] == phases[n] and leads[reader])
    missing = [sum(read.store in edges.maker for read in reads) for reads in edges.reads]
    ready = [(not leads[n], n) for n in range(len(steps)) if not missing[n]]
    heapq.heapify(ready)
    ranks = [0] * len(steps)
    place = 0
    while ready:
        _, n = heapq.heappop(ready)
        ranks[n] = place
        place += 1
        for reader in edges.readers[steps[n].output]:
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, (not leads[reader], reader))
    return ranks


class _Simulation:
    """Rows made so far, and the steps that can run."""

    def __init__(self, program: Program, whole: Collection[int]) -> None:
        self.program, self.edges = program, _Edges(program, whole)
        self.ranks = _ranks(program, self.edges)
        self.lazy = [bool(reads) and all(r.store in self.edges.held for r in reads) for reads in self.edges.reads]
        self.made = [0] * len(program.stores)
        self.done = [0] * len(program.steps)
        self.queue: list[tuple[int, int]] = []
        self.queued = [False] * len(program.steps)
        self.log: list[int] = []

    def missing(self, n: int) -> int:
        """Return a store that keeps a step from running its next task, -1 if none does; whole ones go first."""
        task, needs, made = self.done[n], self.edges.needs[n], self.made
        for store, rows in needs.whole:
            if made[store] < rows:
                return store
        for store, high in needs.parts:
            if made[store] < high[task]:
                return store
        return -1

    def offer(self, n: int) -> None:
        """Queue a step if it can run now and need not wait to be asked."""
        if self.queued[n] or self.lazy[n] or self.done[n] >= self.edges.tasks[n]:
            return
        if self.missing(n) < 0:
            self.queued[n] = True
            heapq.heappush(self.queue, (-self.ranks[n], n))

    def run(self, n: int) -> None:
        """Run a step's next task."""
        step = self.program.steps[n]
        self.log.append(n)
        made = step.made[self.done[n]]
        self.done[n] += 1
        if made > self.made[step.output]:
            self.arrive(step.output, made)
        self.offer(n)

    def arrive(self, store: int, rows: int) -> None:
        """Note that a store has so many rows now."""
        self.made[store] = rows
        for reader in self.edges.readers[store]:
            self.offer(reader)

    def asked(self) -> int | None:
        """Return the step that the outputs can't do without; None if they wait for the image."""
        for output in self.program.outputs:
            place = self.edges.maker.get(output)
            if place is None or self.done[place] >= self.edges.tasks[place]:
                continue
            while (store := self.missing(place)) >= 0:
                maker = self.edges.maker.get(store)
                if maker is None or self.done[maker] >= self.edges.tasks[maker]:
                    return None
                place = maker
            return place
        return None

    def settle(self) -> None:
        """Run all that can run."""
        while True:
            while self.queue:
                _, n = heapq.heappop(self.queue)
                self.queued[n] = False
                self.run(n)
            asked = self.asked()
            if asked is None:
                return
            self.run(asked)


def simulate(program: Program, whole: Collection[int] = (), *, stream: bool = True) -> Schedule:
    """Return the order of all tasks.

    Args:
        program: the steps.
        whole: stores that exist whole before anything reads them.
        stream: the image comes row by row; otherwise it is there from the start.
    """
    source = program.source
    state = _Simulation(program, {*whole, source} if not stream else set(whole))
    rows = program.stores[source].rows
    pushes: list[tuple[int, ...]] = []
    for row in range(rows) if stream else (rows - 1,):
        begin = len(state.log)
        state.arrive(source, row + 1)
        if not pushes:
            for n in range(len(program.steps)):
                state.offer(n)
        state.settle()
        pushes.append(tuple(state.log[begin:]))
    _check_end(state)
    return Schedule(tuple(pushes))


def simulate_rest(program: Program, first: int, store: int) -> Schedule:
    """Return the order of the tasks of all steps from ``first`` on, once ``store`` and all before it are whole."""
    state = _Simulation(program, {store})
    for n, step in enumerate(program.steps[:first]):
        state.done[n] = step.tasks
        state.made[step.output] = program.stores[step.output].rows
    state.made[program.source] = program.stores[program.source].rows
    for n in range(first, len(program.steps)):
        state.offer(n)
    state.settle()
    _check_end(state)
    return Schedule((tuple(state.log),))


def _check_end(state: _Simulation) -> None:
    if any(done < step.tasks for done, step in zip(state.done, state.program.steps, strict=True)):
        raise RuntimeError("the schedule does not come to an end")
