"""Which tensors exist whole: streaming everything is bad for deep networks, whose rings would all live at once."""

from __future__ import annotations

from sapool.firmware.lifetimes import buffers
from sapool.firmware.plan import Plan, place
from sapool.firmware.rows import Program
from sapool.firmware.schedule import Schedule, simulate


def choose_cuts(program: Program, *, stream: bool = True) -> tuple[Schedule, Plan]:
    """Return the schedule and the plan with the least RAM found."""
    whole: frozenset[int] = frozenset()
    schedule = simulate(program, whole, stream=stream)
    return schedule, place(buffers(program, schedule, whole, stream))
