from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sapool.memory import Buffer, greedy_offsets, head_of, lower_bound


def together(a: Buffer, b: Buffer) -> bool:
    return any(step in range(b.first, b.last + 1) for step in range(a.first, a.last + 1))


def padded(buffer: Buffer) -> int:
    return next(size for size in range(buffer.size, buffer.size + 16) if size % 16 == 0)


def naive_offsets(buffers: list[Buffer], fixed: dict[int, int]) -> list[int]:
    """Largest first, of equals the last first; each at the lowest place that is free all its life."""
    placed = dict(fixed)
    order = sorted(range(len(buffers)), key=lambda i: (padded(buffers[i]), i), reverse=True)
    for i in (i for i in order if i not in fixed):
        near = [j for j in placed if together(buffers[i], buffers[j])]
        places = [0, *(placed[j] + padded(buffers[j]) for j in near)]
        free = [
            start
            for start in places
            if all(start + padded(buffers[i]) <= placed[j] or placed[j] + padded(buffers[j]) <= start for j in near)
        ]
        placed[i] = min(free)
    return [placed[i] for i in range(len(buffers))]


BUFFERS = st.lists(
    st.builds(
        lambda size, first, length: Buffer(size, first, first + length),
        st.integers(1, 100),
        st.integers(0, 12),
        st.integers(0, 6),
    ),
    max_size=14,
)


@given(BUFFERS)
@settings(deadline=None)
def test_it_places_as_a_naive_planner(buffers: list[Buffer]) -> None:
    assert list(greedy_offsets(buffers)) == naive_offsets(buffers, {})


@given(BUFFERS, st.data())
@settings(deadline=None)
def test_given_offsets_are_kept_and_planned_around(buffers: list[Buffer], data: st.DataObject) -> None:
    chosen = data.draw(st.sets(st.integers(0, len(buffers) - 1), max_size=3)) if buffers else set()
    fixed: dict[int, int] = {}
    for i in sorted(chosen):  # one above the other, so that nothing given overlaps
        fixed[i] = sum(padded(buffers[j]) for j in fixed) + 16 * data.draw(st.integers(0, 4)) * (not fixed)
    if any(together(buffers[i], buffers[j]) for i in fixed for j in fixed if i < j) and len(fixed) > 1:
        start = 0
        for i in fixed:
            fixed[i], start = start, start + padded(buffers[i])
    offsets = greedy_offsets(buffers, fixed)
    assert list(offsets) == naive_offsets(buffers, fixed)
    assert all(offsets[i] == place for i, place in fixed.items())


@given(BUFFERS)
@settings(max_examples=200, deadline=None)
def test_no_two_buffers_alive_together_overlap(buffers: list[Buffer]) -> None:
    offsets = greedy_offsets(buffers)
    for i, a in enumerate(buffers):
        for j in range(i):
            if together(a, buffers[j]):
                assert offsets[i] + a.size <= offsets[j] or offsets[j] + buffers[j].size <= offsets[i]


@given(BUFFERS)
@settings(deadline=None)
def test_the_head_is_between_its_bounds(buffers: list[Buffer]) -> None:
    alive = [sum(padded(b) for b in buffers if b.first <= step <= b.last) for step in range(20)]
    assert lower_bound(buffers) == max(alive)
    assert max(alive) <= head_of(buffers, greedy_offsets(buffers)) <= sum(padded(b) for b in buffers)


def test_of_equal_sizes_the_last_is_placed_first() -> None:
    assert greedy_offsets([Buffer(16, 0, 1), Buffer(16, 0, 1), Buffer(16, 0, 1)]) == (32, 16, 0)


def test_sizes_are_compared_as_they_are_stored() -> None:
    assert greedy_offsets([Buffer(20, 0, 1), Buffer(32, 0, 1), Buffer(17, 0, 1)]) == (64, 32, 0)


def test_a_gap_is_taken_before_the_end() -> None:
    first, second, small = Buffer(64, 0, 2), Buffer(48, 0, 0), Buffer(32, 2, 2)
    assert greedy_offsets([first, second, Buffer(40, 2, 2), small], {0: 48}) == (48, 0, 0, 112)


def test_nothing_needs_nothing() -> None:
    assert greedy_offsets([]) == ()
    assert head_of([], ()) == lower_bound([]) == 0


def test_offsets_of_other_buffers_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        head_of([Buffer(1, 0, 0)], ())


def test_five_hundred_buffers_take_milliseconds() -> None:
    buffers = [Buffer(1000 + 37 * i % 5000, i % 250, i % 250 + i % 40) for i in range(500)]
    times = []
    for _ in range(5):
        start = time.perf_counter()
        greedy_offsets(buffers)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.1  # an order above what it takes: only a change of its complexity fails
