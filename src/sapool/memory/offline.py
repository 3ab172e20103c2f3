"""Placing the arena's buffers better than the runtime's greedy planner, ahead of time.

The runtime takes ready-made offsets from a file's ``OfflineMemoryAllocation`` metadata and doesn't check them for
overlaps, so a plan may also let two tensors share bytes (:mod:`sapool.memory.aliasing`). Scratch can't be given an
offset: the runtime puts it into the gaps that are left, so every plan is judged with its scratch placed that way.

The search tries greedy placements in several orders and then moves buffers that reach the top of the arena forward in
the order. Source of the orders by size and by breadth: Pisarchyk and Lee, "Efficient Memory Management for Deep Neural
Net Inference", 2020, arXiv 2001.03288.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sapool.memory.planners import Buffer, aligned, greedy_offsets, head_of, live_bytes

# (place in the buffers, offset in bytes inside the cluster) for each of the buffers that keep their distance.
Cluster = tuple[tuple[int, int], ...]
Order = list[int]

STEPS = 1500
_LOOKS = 6_000_000  # pairs of buffers looked at, after which a search of many crowded buffers ends before its steps
_PATIENCE = 60  # steps without a better order, after which the walk starts again from the best one
_LENIENCE = 0.02  # the share of steps that may go to a worse order


@dataclass
class _Problem:
    """The buffers as clusters, and how near any two clusters may come.

    Attributes:
        buffers: what must be placed.
        clusters: every buffer is in exactly one of them.
        conflicts: [cluster] -> {other: ranges}, where the distance of the two may not lie strictly inside a range.
        tops: [cluster] the bytes from its start to its end.
    """

    buffers: Sequence[Buffer]
    clusters: tuple[Cluster, ...]
    conflicts: list[dict[int, list[tuple[int, int]]]] = field(init=False)
    tops: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.tops = [max(at + aligned(self.buffers[i].size) for i, at in cluster) for cluster in self.clusters]
        self.conflicts = [{} for _ in self.clusters]
        members = [(c, i, at) for c, cluster in enumerate(self.clusters) for i, at in cluster]
        members.sort(key=lambda member: self.buffers[member[1]].first)
        alive: list[tuple[int, int, int]] = []
        for one in members:
            alive = [other for other in alive if self.buffers[other[1]].last >= self.buffers[one[1]].first]
            for other in alive:
                if other[0] != one[0]:
                    self._forbid(one, other)
                    self._forbid(other, one)
            alive.append(one)

    def _forbid(self, one: tuple[int, int, int], other: tuple[int, int, int]) -> None:
        size, other_size = aligned(self.buffers[one[1]].size), aligned(self.buffers[other[1]].size)
        span = (other[2] - one[2] - size, other[2] + other_size - one[2])
        self.conflicts[one[0]].setdefault(other[0], []).append(span)

    def place(
        self, order: Order, best_fit: bool, *, placed: Sequence[int] = (), kept: int = 0, limit: float = math.inf
    ) -> list[int] | None:
        """Place the clusters in this order, each as low as it goes.

        Args:
            order: the clusters.
            best_fit: into the narrowest gap instead of the lowest.
            placed: an earlier placement, if the first ``kept`` clusters of the order are as they were.
            kept: how many.
            limit: give up as soon as a cluster ends above this.

        Returns:
            The offset of each cluster; None if it was given up.
        """
        starts = [-1] * len(self.clusters)
        for cluster in order[:kept]:
            starts[cluster] = placed[cluster]
        for cluster in order[kept:]:
            spans = []
            for other, ranges in self.conflicts[cluster].items():
                base = starts[other]
                if base >= 0:
                    for low, high in ranges:
                        spans.append((base + low, base + high))
            start = _free_place(spans, best_fit)
            if start + self.tops[cluster] > limit:
                return None
            starts[cluster] = start
        return starts

    def head(self, starts: Sequence[int]) -> int:
        """Return the bytes that a placement needs, its scratch lying where this placement puts it."""
        return max(start + top for start, top in zip(starts, self.tops, strict=True))

    def settle(self, starts: Sequence[int]) -> tuple[int, ...]:
        """Return the offset of each buffer once the runtime has put the scratch around the tensors."""
        places = {i: start + at for start, cluster in zip(starts, self.clusters, strict=True) for i, at in cluster}
        fixed = {i: place for i, place in places.items() if self.buffers[i].tensor >= 0}
        return greedy_offsets(self.buffers, fixed)


def _free_place(spans: list[tuple[int, int]], best_fit: bool) -> int:
    """Return the lowest place outside every span, or with ``best_fit`` the start of the narrowest gap between them."""
    spans.sort()
    place, found, narrowest = 0, -1, -1
    for low, high in spans:
        if low >= place:  # low itself is allowed: the spans are open
            if not best_fit:
                return place
            if found < 0 or low - place < narrowest:
                found, narrowest = place, low - place
        if high > place:
            place = high
    return found if found >= 0 else place


def best_offsets(
    buffers: Sequence[Buffer], clusters: Sequence[Cluster] = (), *, steps: int = STEPS, seed: int = 0
) -> tuple[int, ...]:
    """Place buffers so that the arena's head is as small as a search of ``steps`` placements finds.

    Never worse than the runtime's greedy planner, which is the first candidate. Stops at the lower bound. The same
    arguments give the same plan on every machine.

    Args:
        buffers: in the order in which the runtime adds them.
        clusters: buffers that keep their distance, and may overlap each other; the others go where they like.
        steps: how many placements are tried at most.
        seed: of the search.

    Returns:
        One offset in bytes a buffer, a multiple of 16. A scratch buffer's is where the runtime will put it.
    """
    plan = greedy_offsets(buffers)
    bound = lower_bound_of(buffers, clusters)
    if not buffers or head_of(buffers, plan) <= bound:
        return plan
    problem = _Problem(buffers, _all_clusters(buffers, clusters))
    search = _Search(problem, bound, plan, head_of(buffers, plan), random.Random(seed))
    search.run(steps)
    return search.plan


def lower_bound_of(buffers: Sequence[Buffer], clusters: Sequence[Cluster] = ()) -> int:
    """Return bytes below which no placement can go: the largest sum alive at one step, shared bytes counted once."""
    inside = {i for cluster in clusters for i, _ in cluster}
    alone = [buffer for i, buffer in enumerate(buffers) if i not in inside]
    alive = live_bytes(alone)
    steps = sorted({*alive, *(buffers[i].first for i in inside)})
    most, now = 0, 0
    for step in steps:
        now = alive.get(step, now)
        most = max(most, now + sum(_covered(buffers, cluster, step) for cluster in clusters))
    return most


def _covered(buffers: Sequence[Buffer], cluster: Cluster, step: int) -> int:
    """Return how many bytes of a cluster are in use at a step."""
    total, end = 0, None
    for i, at in sorted(cluster, key=lambda member: member[1]):
        if buffers[i].first <= step <= buffers[i].last:
            top = at + aligned(buffers[i].size)
            start = at if end is None else max(at, end)
            total, end = total + max(top - start, 0), top if end is None else max(top, end)
    return total


def _all_clusters(buffers: Sequence[Buffer], clusters: Sequence[Cluster]) -> tuple[Cluster, ...]:
    inside = {i for cluster in clusters for i, _ in cluster}
    return (*clusters, *(((i, 0),) for i in range(len(buffers)) if i not in inside))


@dataclass
class _Search:
    """The best plan so far, and the way to better ones."""

    problem: _Problem
    bound: int
    plan: tuple[int, ...]
    head: int
    dice: random.Random
    order: Order = field(default_factory=list)
    best_fit: bool = False
    guess: int = 0

    def run(self, steps: int) -> None:
        """Try the ready-made orders, then walk from the best of them until the bound or the last step is reached."""
        for order in _orders(self.problem):
            for best_fit in (False, True):
                steps -= 1
                starts = self.problem.place(order, best_fit)
                if starts is None or self._found(starts):
                    return
                guess = self.problem.head(starts)
                if not self.order or guess < self.guess:
                    self.order, self.best_fit, self.guess = order, best_fit, guess
        looks = sum(len(ranges) for others in self.problem.conflicts for ranges in others.values())
        self._walk(min(steps, _LOOKS // max(looks, 1)))

    def _found(self, starts: Sequence[int]) -> bool:
        """Keep the placement's plan if it is the best so far; returns whether none can be better."""
        if self.problem.head(starts) < self.head:
            plan = self.problem.settle(starts)
            head = head_of(self.problem.buffers, plan)
            if head < self.head:
                self.plan, self.head = plan, head
        return self.head <= self.bound

    def _walk(self, steps: int) -> None:
        order, guess, idle = self.order, self.guess, 0
        starts = self.problem.place(order, self.best_fit)
        for _ in range(steps):
            if starts is None:
                return
            moved, kept = self._moved(order, starts, guess)
            # Plateaus are wide: an order that is as good is walked on from, one that is worse now and then.
            limit = math.inf if self.dice.random() < _LENIENCE else guess
            tried = self.problem.place(moved, self.best_fit, placed=starts, kept=kept, limit=limit)
            idle += 1
            if tried is not None:
                order, starts, guess = moved, tried, self.problem.head(tried)
                if guess < self.guess:
                    self.order, self.guess, idle = order, guess, 0
                    if self._found(starts):
                        return
            if idle >= _PATIENCE:
                order, guess, idle = self.order, self.guess, 0
                starts = self.problem.place(order, self.best_fit)

    def _moved(self, order: Order, starts: Sequence[int], head: int) -> tuple[Order, int]:
        """Return the order with a cluster at the arena's top, or a neighbour of it, elsewhere, and how much stays."""
        problem, dice = self.problem, self.dice
        top = dice.choice([c for c in range(len(starts)) if starts[c] + problem.tops[c] == head])
        near = [top, *problem.conflicts[top]]
        one = top if dice.random() < 0.5 else dice.choice(near)
        moved = order.copy()
        at = moved.index(one)
        if dice.random() < 0.5:
            other = dice.randrange(at + 1)
            moved.insert(other, moved.pop(at))
        else:
            other = moved.index(dice.choice(near))
            moved[at], moved[other] = moved[other], moved[at]
        return moved, min(at, other)


def _orders(problem: _Problem) -> list[Order]:
    """Return the orders to start from: by size, by length of life, by their product, by time and by breadth."""
    buffers, alive = problem.buffers, live_bytes(problem.buffers)
    first = [min(buffers[i].first for i, _ in cluster) for cluster in problem.clusters]
    last = [max(buffers[i].last for i, _ in cluster) for cluster in problem.clusters]
    crowd = [max(bytes_ for step, bytes_ in alive.items() if a <= step <= b) for a, b in zip(first, last, strict=True)]
    tops = problem.tops
    keys: list[Callable[[int], tuple[int, ...]]] = [
        lambda c: (-tops[c], -c),
        lambda c: (-tops[c], first[c]),
        lambda c: (-crowd[c], -tops[c]),
        lambda c: (-crowd[c], first[c]),
        lambda c: (first[c] - last[c], -tops[c]),
        lambda c: (-tops[c] * (last[c] - first[c] + 1),),
        lambda c: (first[c], -tops[c]),
        lambda c: (-last[c], -tops[c]),
    ]
    return [sorted(range(len(problem.clusters)), key=key) for key in keys]
