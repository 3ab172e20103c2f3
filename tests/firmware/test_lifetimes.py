"""When buffers are alive: rings as deep as a naive look at every pair of rows says, and a replay without a planner."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sapool.firmware.lifetimes import Rows, buffers, clock_of
from sapool.firmware.plan import Plan
from sapool.firmware.rows import lower
from sapool.firmware.schedule import simulate
from tests.firmware.random_networks import random_network
from tests.firmware.replay import Replay, apart
from tests.firmware.test_schedule import chain


def random_rows(seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    written = np.sort(rng.integers(0, 40, 12))
    return Rows(written, written + rng.integers(0, 15, 12))


@pytest.mark.parametrize("seed", range(20))
def test_a_ring_is_as_deep_as_two_rows_that_live_at_once_are_apart(seed: int) -> None:
    rows = random_rows(seed)
    count = len(rows.written)
    lives = [set(range(a, b + 1)) for a, b in zip(rows.written.tolist(), rows.released.tolist(), strict=True)]
    apart_by = [s - r for s in range(count) for r in range(s) if rows.written[s] in lives[r]]
    assert rows.depth() == max(apart_by, default=0) + 1


@pytest.mark.parametrize("seed", range(20))
def test_intervals_hold_the_times_of_all_rows(seed: int) -> None:
    rows = random_rows(seed)
    wanted = {t for a, b in zip(rows.written.tolist(), rows.released.tolist(), strict=True) for t in range(a, b + 1)}
    intervals = rows.intervals()
    assert [t for first, last in intervals for t in range(first, last + 1)] == sorted(wanted)
    assert all(one[1] + 1 < other[0] for one, other in itertools.pairwise(intervals))


def test_the_clock_ticks_once_a_row_and_once_a_task() -> None:
    program = chain()
    clock = clock_of(program, simulate(program))  # (), (0), (0, 1), (0, 1, 0, 1, 1)
    assert clock.arrivals.tolist() == [0, 1, 3, 6]
    assert [times.tolist() for times in clock.tasks] == [[2, 4, 7, 9], [5, 8, 10, 11]]
    assert clock.end == 12


def test_rings_of_a_chain_by_hand() -> None:
    program = chain(rows=8)
    found = buffers(program, simulate(program), frozenset())
    depths = {buffer.stores: buffer.depth for buffer in found if buffer.stores}
    # three rows under a window; the result stays whole
    assert depths == {(0,): 3, (1,): 3, (2,): 8}
    assert all(buffer.bytes % 4 == 0 and buffer.bytes >= buffer.depth * 10 for buffer in found if buffer.stores)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("seed", range(16))
def test_no_row_is_written_over_before_its_last_reader(seed: int, stream: bool) -> None:
    program = lower(random_network(seed))
    schedule = simulate(program, stream=stream)
    found = buffers(program, schedule, frozenset(), stream)
    sizes = [buffer.bytes for buffer in found]
    Replay(program, schedule, Plan(tuple(found), tuple(apart(sizes)), sum(sizes)), stream=stream).run()
    for buffer in found:
        wanted = sum(1 << t for first, last in buffer.intervals for t in range(first, last + 1))
        assert buffer.alive == wanted


def test_a_step_in_place_shares_its_input_s_bytes() -> None:
    shared = 0
    for seed in range(16):
        program = lower(random_network(seed))
        for buffer in buffers(program, simulate(program), frozenset()):
            makers = [step for step in program.steps if step.output in buffer.stores[1:]]
            assert all({step.reads[k].store for k in step.in_place} & set(buffer.stores) for step in makers)
            shared += len(makers)
    assert shared > 5
