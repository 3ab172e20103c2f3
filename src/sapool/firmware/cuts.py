"""Which tensors exist whole: streaming everything is bad for deep networks, whose rings would all live at once.

A tensor that all paths go through may be kept whole: what is behind it starts when it is complete, so nothing in front
of it is alive any more. A dynamic programme over those tensors finds the cuts whose worst part needs least.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sapool.firmware.lifetimes import ALIGNMENT, Buffer, buffers
from sapool.firmware.plan import Plan, alive_bytes, peak_time, place
from sapool.firmware.rows import Program
from sapool.firmware.schedule import Schedule, simulate, simulate_rest

_WORTH = 0.01  # of the RAM: a smaller tile makes its step slower


@dataclass(frozen=True)
class Joint:
    """A tensor that all paths go through.

    Attributes:
        store: it.
        step: the last step before those that read it; -1 for the image.
    """

    store: int
    step: int


def find_joints(program: Program) -> list[Joint]:
    """Return all such tensors with more than one row, in order."""
    last = [-1] * len(program.stores)
    for n, step in enumerate(program.steps):
        for read in step.reads:
            if read.store >= 0:
                last[read.store] = n
    found: list[Joint] = []
    alive = {program.source}
    for n, step in enumerate(program.steps):
        alive = {store for store in alive | {step.output} if last[store] > n}
        if len(alive) == 1:
            store = next(iter(alive))
            if program.stores[store].rows > 1 and (not found or found[-1].store != store):
                found.append(Joint(store, n))
    return found


def choose_cuts(program: Program, *, stream: bool = True) -> tuple[Schedule, Plan]:
    """Return the schedule and the plan with the least RAM found."""
    whole: frozenset[int] = frozenset()
    schedule, plan = _attempt(program, whole, stream)
    cuts = frozenset(joint.store for joint in _best_cuts(program, stream))
    if cuts:
        other = _attempt(program, cuts, stream)
        if other[1].bytes < plan.bytes:
            (schedule, plan), whole = other, cuts
    return schedule, shrink_tiles(program, schedule, whole, stream, plan)


def shrink_tiles(program: Program, schedule: Schedule, whole: frozenset[int], stream: bool, plan: Plan) -> Plan:
    """Give the steps whose scratch is alive at the peak smaller tiles, in place, while that saves enough."""
    while True:
        smaller = {n: program.steps[n].with_smaller_tile() for n in _scratch_at_peak(plan)}
        if not any(smaller.values()):
            return plan
        before = list(program.steps)
        for n, step in smaller.items():
            program.steps[n] = step or program.steps[n]
        made = place(buffers(program, schedule, whole, stream))
        if made.bytes > plan.bytes * (1 - _WORTH):
            program.steps[:] = before
            return plan
        plan = made


def _scratch_at_peak(plan: Plan) -> list[int]:
    """Return the steps whose scratch is alive when most bytes are."""
    peak = peak_time(plan.buffers)
    return [b.step for b in plan.buffers if b.step >= 0 and not b.is_state and b.alive >> peak & 1]


def _attempt(program: Program, whole: frozenset[int], stream: bool) -> tuple[Schedule, Plan]:
    schedule = simulate(program, whole, stream=stream)
    return schedule, place(buffers(program, schedule, whole, stream))


def _best_cuts(program: Program, stream: bool) -> list[Joint]:
    """Return the cuts whose worst part needs the fewest bytes; of equal ones, the fewest cuts."""
    joints = find_joints(program)
    # worst[n]: (bytes, cuts, chosen) of the best way to have joints[n] whole; the last entry is the network's end.
    ways: list[tuple[int, int, list[Joint]]] = []
    costs = [_costs(program, None, joints, stream)]
    costs += [_costs(program, joint, joints[n + 1 :], stream) for n, joint in enumerate(joints)]
    for end in range(len(joints) + 1):
        options: list[tuple[int, int, list[Joint]]] = [(costs[0][end], 0, [])]
        for start in range(end):
            worst, count, chosen = ways[start]
            options.append((max(worst, costs[start + 1][end - start - 1]), count + 1, [*chosen, joints[start]]))
        ways.append(min(options, key=lambda way: way[:2]))
    return ways[-1][2]


def _costs(program: Program, start: Joint | None, ends: Sequence[Joint], stream: bool) -> list[int]:
    """Return the bytes of the part from ``start`` to each of ``ends``, and to the network's end."""
    if start is None:
        schedule = simulate(program, stream=stream)
        part, whole = program, frozenset({program.source} if not stream else ())
        first = 0
    else:
        first = start.step + 1
        schedule = simulate_rest(program, first, start.store)
        part, whole = _rest(program, first, start.store), frozenset({start.store})
        schedule = Schedule((tuple(n - first for n in schedule.pushes[0]),))
    found = buffers(part, schedule, whole, stream)
    makers = {step.output: n + first for n, step in enumerate(part.steps)}
    births = [_birth(buffer, makers, first) for buffer in found]
    return [_cost(program, found, births, end) for end in ends] + [alive_bytes(found)]


def _rest(program: Program, first: int, source: int) -> Program:
    """Return the steps from ``first`` on as a program of their own, whose image is a store that exists whole."""
    return Program(program.stores, program.steps[first:], source, program.outputs)


def _birth(buffer: Buffer, makers: dict[int, int], first: int) -> int:
    if buffer.step >= 0:
        return buffer.step + first
    return min((makers.get(store, -1) for store in buffer.stores), default=-1)


def _cost(program: Program, found: Sequence[Buffer], births: Sequence[int], end: Joint) -> int:
    """Return the most bytes alive in the part that ends with a whole tensor."""
    inside, start, finish = [], 0, 0
    for buffer, birth in zip(found, births, strict=True):
        if end.store in buffer.stores:
            start, finish = buffer.intervals[0][0], max(finish, buffer.intervals[-1][1])
        elif birth <= end.step:
            inside.append(buffer)
    size = -(-program.stores[end.store].bytes // ALIGNMENT) * ALIGNMENT
    tasks = max([finish, *(last for buffer in inside for _, last in buffer.intervals)])
    change = np.zeros(tasks + 2, np.int64)
    for buffer in inside:
        for first, last in buffer.intervals:
            change[first] += buffer.bytes
            change[last + 1] -= buffer.bytes
    change[start] += size
    return int(change.cumsum().max())
