from __future__ import annotations

import itertools
import random

import pytest

from sapool.memory.offline import best_offsets, lower_bound_of
from sapool.memory.planners import ALIGNMENT, Buffer, aligned, greedy_offsets, head_of, lower_bound


def some_buffers(seed: int, count: int, life: int = 4) -> list[Buffer]:
    dice = random.Random(seed)
    tensors = []
    for step in range(count):
        last = min(count, step + dice.randint(1, life))
        tensors.append(Buffer(dice.choice((7, 100, 1000, 4096)) * dice.randint(1, 4), step, last, tensor=step))
    scratch = [Buffer(dice.randint(1, 3000), step, step, operator=step) for step in range(0, count, 3)]
    return [*tensors, *scratch]


def overlap(one: Buffer, other: Buffer, offset: int, other_offset: int) -> bool:
    together = one.first <= other.last and other.first <= one.last
    return together and offset < other_offset + other.size and other_offset < offset + one.size


def first_fit(buffers: list[Buffer], order: tuple[int, ...]) -> int:
    """The naive way: the lowest multiple of 16 that clashes with nothing placed before."""
    offsets: dict[int, int] = {}
    for i in order:
        offset = 0
        while any(overlap(buffers[i], buffers[j], offset, at) for j, at in offsets.items()):
            offset += ALIGNMENT
        offsets[i] = offset
    return max(offset + aligned(buffers[i].size) for i, offset in offsets.items())


@pytest.mark.parametrize("seed", range(20))
def test_no_two_buffers_that_live_together_overlap(seed: int) -> None:
    buffers = some_buffers(seed, 25)
    offsets = best_offsets(buffers, steps=100)
    for (a, x), (b, y) in itertools.combinations(zip(buffers, offsets, strict=True), 2):
        assert not overlap(a, b, x, y)
    assert all(offset % ALIGNMENT == 0 for offset in offsets)
    assert lower_bound(buffers) <= head_of(buffers, offsets) <= head_of(buffers, greedy_offsets(buffers))


@pytest.mark.parametrize("seed", range(30))
def test_the_best_of_all_orders_is_found(seed: int) -> None:
    dice = random.Random(seed)
    spans = [sorted((dice.randint(0, 5), dice.randint(0, 5))) for _ in range(6)]
    buffers = [Buffer(16 * dice.randint(1, 9), a, b, tensor=i) for i, (a, b) in enumerate(spans)]
    # Whatever the best placement is, letting its buffers sink in the order of their offsets makes it no worse.
    best = min(first_fit(buffers, order) for order in itertools.permutations(range(6)))
    assert head_of(buffers, best_offsets(buffers)) == best


def test_it_beats_the_greedy_planner() -> None:
    """The largest goes to the bottom, and then two small ones that outlive it keep the other large ones apart."""
    buffers = [
        Buffer(64, 0, 1, tensor=0),
        Buffer(48, 1, 2, tensor=1),
        Buffer(48, 2, 3, tensor=2),
        Buffer(64, 3, 4, tensor=3),
        Buffer(16, 0, 4, tensor=4),
        Buffer(32, 2, 2, tensor=5),
    ]
    assert head_of(buffers, greedy_offsets(buffers)) > lower_bound(buffers)
    assert head_of(buffers, best_offsets(buffers)) == lower_bound(buffers)


def test_the_plan_says_where_the_runtime_will_put_scratch() -> None:
    buffers = some_buffers(3, 30)
    offsets = best_offsets(buffers)
    fixed = {i: offset for i, offset in enumerate(offsets) if buffers[i].tensor >= 0}
    assert greedy_offsets(buffers, fixed) == offsets


def test_the_same_arguments_give_the_same_plan() -> None:
    buffers = some_buffers(5, 60, 20)
    assert best_offsets(buffers, seed=1) == best_offsets(buffers, seed=1)


def test_a_cluster_keeps_its_distances() -> None:
    buffers = [Buffer(64, 0, 2, tensor=0), Buffer(32, 2, 3, tensor=1), Buffer(64, 1, 3, tensor=2)]
    offsets = best_offsets(buffers, [((0, 0), (1, 32))])
    assert offsets[1] == offsets[0] + 32
    assert head_of(buffers, offsets) == 128


def test_nothing_needs_no_room() -> None:
    assert best_offsets([]) == ()
    assert lower_bound_of([]) == 0


@pytest.mark.parametrize("seed", range(10))
def test_the_lower_bound_counts_every_byte_once(seed: int) -> None:
    dice = random.Random(seed)
    buffers = some_buffers(seed, 12)
    inside = dice.sample(range(12), 5)
    cluster = tuple((i, 16 * dice.randint(0, 40)) for i in inside)
    worst = 0
    for step in range(14):
        alive = [i for i, b in enumerate(buffers) if b.first <= step <= b.last]
        shared = {byte for i, at in cluster if i in alive for byte in range(at, at + aligned(buffers[i].size))}
        worst = max(worst, len(shared) + sum(aligned(buffers[i].size) for i in alive if i not in inside))
    assert lower_bound_of(buffers, [cluster]) == worst
    assert lower_bound_of(buffers) == lower_bound(buffers)
