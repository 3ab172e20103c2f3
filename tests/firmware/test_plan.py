"""Offsets: no two buffers that live at once overlap, found by looking at every pair and every byte."""

from __future__ import annotations

import numpy as np
import pytest

from sapool.firmware.lifetimes import Buffer, buffers
from sapool.firmware.plan import alive_bytes, peak_time, place
from sapool.firmware.rows import lower
from sapool.firmware.schedule import simulate
from tests.firmware.random_networks import random_network
from tests.firmware.replay import Replay


def living(size: int, *intervals: tuple[int, int]) -> Buffer:
    alive = sum(1 << t for first, last in intervals for t in range(first, last + 1))
    return Buffer(size, 1, (), -1, alive, intervals)


def random_buffers(seed: int) -> list[Buffer]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(25):
        ends = np.sort(rng.choice(60, 4, replace=False)).tolist()
        intervals = [(ends[0], ends[1]), (ends[2], ends[3])][: int(rng.integers(1, 3))]
        found.append(living(4 * int(rng.integers(1, 40)), *intervals))
    return found


@pytest.mark.parametrize("seed", range(15))
def test_what_lives_at_once_lies_apart(seed: int) -> None:
    found = random_buffers(seed)
    plan = place(found)
    assert plan.buffers == tuple(found)
    spans = [(o, o + b.bytes) for o, b in zip(plan.offsets, found, strict=True)]
    for n, (start, end) in enumerate(spans):
        assert 0 <= start < end <= plan.bytes
        for m, (other_start, other_end) in enumerate(spans[:n]):
            if found[n].alive & found[m].alive:
                assert end <= other_start or other_end <= start
    assert max(end for _, end in spans) == plan.bytes


@pytest.mark.parametrize("seed", range(15))
def test_the_bound_is_the_most_that_lives_at_a_time(seed: int) -> None:
    found = random_buffers(seed)
    totals = [sum(b.bytes for b in found if b.alive >> t & 1) for t in range(60)]
    assert alive_bytes(found) == max(totals)
    assert peak_time(found) == totals.index(max(totals))
    assert max(totals) <= place(found).bytes <= 1.35 * max(totals)


def test_bytes_are_used_again() -> None:
    plan = place([living(100, (0, 1)), living(60, (2, 3)), living(40, (2, 3)), living(8, (0, 0), (3, 3))])
    assert plan.bytes == 108
    assert plan.offsets[0] <= plan.offsets[1] < plan.offsets[0] + 100


def test_a_hole_between_two_lives_is_used() -> None:
    assert place([living(64, (0, 1), (4, 5)), living(64, (2, 3))]).bytes == 64


@pytest.mark.parametrize("seed", range(16))
def test_no_network_writes_over_what_it_still_needs(seed: int) -> None:
    program = lower(random_network(seed))
    schedule = simulate(program)
    Replay(program, schedule, place(buffers(program, schedule, frozenset()))).run()
