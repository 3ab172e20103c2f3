"""Pruning to a share of the channels, to an arena, or to multiply-accumulates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import torch
from torch import nn

from sapool.base.records import Reporter
from sapool.memory import MemoryProfile
from sapool.predict.profile import profile_memory
from sapool.pruning.costs import Passes, Size, count_macs, plain_graph
from sapool.pruning.groups import ChannelGroup
from sapool.pruning.sensitivity import Sensitivity, measure_sensitivity
from sapool.pruning.widths import Widths

# Of what is alive at the peak, before the network is profiled again: what is predicted in between is linear.
_ROUND = 0.75
_MACS_ROUND = 0.6

Gain = Callable[[ChannelGroup, dict[str, int]], float]


@dataclass
class Pruning:
    """A pruning under way.

    Attributes:
        model: the network, pruned in place.
        size: (C, H, W).
        widths: its channels.
        passes: the export's.
        steps: in how many steps the target is approached, with new importances after each.
        after_step: is called with the step's number behind every step but the last, and computes new importances.
        reporter: is told the progress.
    """

    model: nn.Module
    size: Size
    widths: Widths
    passes: Passes
    steps: int
    reporter: Reporter
    after_step: Callable[[int], object]
    _known: tuple[int, Mapping[str, Sensitivity]] = field(default=(-1, MappingProxyType({})), init=False)

    def to_ratio(self, ratio: float, globally: bool) -> None:
        """Remove the share ``ratio`` of every group's channels, or of all of them where they matter least."""
        groups = self.widths.groups
        first = {group.name: groups.positions(group) for group in groups.groups}
        for step in range(1, self.steps + 1):
            share = ratio * step / self.steps
            wanted = self._global_widths(first, share) if globally else {n: c * (1 - share) for n, c in first.items()}
            for group in groups.groups:
                present = groups.positions(group)
                self.widths.shrink(group, min(present, self.widths.nearest(group, wanted[group.name])))
            self._finish_step(step)

    def _global_widths(self, first: dict[str, int], share: float) -> dict[str, float]:
        """Return the positions that every group keeps if the least important of all go first."""
        scores = torch.cat(list(self.widths.scores.values()))
        count = round(sum(first.values()) * (1 - share))
        threshold = scores.sort(descending=True).values[min(count, len(scores)) - 1]
        return {name: float((own >= threshold).sum()) for name, own in self.widths.scores.items()}

    def _finish_step(self, step: int) -> None:
        self.reporter.stage(f"pruning step {step} of {self.steps} done")
        if step < self.steps:
            self.after_step(step)

    def to_macs(self, limit: int) -> None:
        """Remove what matters least for the multiply-accumulates it saves until at most ``limit`` are left.

        Raises:
            ValueError: the least that is possible is more.
        """
        start = self._check_least("macs", limit, lambda: count_macs(self.model, self.size))
        for step in range(1, self.steps + 1):
            aim = limit if step == self.steps else start * (limit / start) ** (step / self.steps)
            while (present := count_macs(self.model, self.size)) > aim:
                self._macs_round(present, max(aim, _MACS_ROUND * present))
            self._finish_step(step)

    def _macs_round(self, present: int, aim: float) -> None:
        saved = {name: slope.macs for name, slope in self._measure("none").items()}
        left = float(present)

        def gain(group: ChannelGroup, removed: dict[str, int]) -> float:
            return saved.get(group.name, 0.0)

        def done(removed: dict[str, int]) -> bool:
            return left - sum(saved[name] * count for name, count in removed.items()) <= aim

        self._shrink_cheapest(gain, done)
        self.reporter.stage(f"pruned from {present:,} multiply-accumulates towards {round(aim):,}")

    def to_ram(self, limit: int) -> None:
        """Remove what matters least for the bytes it saves at the peak until the predicted arena is at most ``limit``.

        Raises:
            ValueError: the least that is possible is more.
        """
        start = self._check_least("ram_bytes", limit, lambda: self._profile().arena_bytes)
        for step in range(1, self.steps + 1):
            aim = limit if step == self.steps else start * (limit / start) ** (step / self.steps)
            while (profile := self._profile()).arena_bytes > aim:
                self._ram_round(profile, aim)
            self._finish_step(step)

    def _profile(self) -> MemoryProfile:
        return profile_memory(self.model, self.size, passes=self.passes)

    def _ram_round(self, profile: MemoryProfile, aim: float) -> None:
        """Bring every operator under a limit: the aim, or three quarters of the present peak if that is more."""
        slopes, present = self._tensor_slopes()
        peak = profile.lower_bound_bytes
        gaps = profile.head_bytes / max(1, peak)  # the placement leaves some, so the head is larger than what is alive
        live = [operator.live_bytes for operator in profile.by_operator]
        saved = {
            name: [slope.saved_at(operator.live, present) for operator in profile.by_operator]
            for name, slope in slopes.items()
        }

        def over(removed: dict[str, int]) -> list[float]:
            tail = profile.tail_bytes - sum(slopes[name].tail * count for name, count in removed.items())
            # At least one byte less than now: a round removes something.
            limit = min(max((aim - tail) / gaps, _ROUND * peak), peak - 1)
            gone = [sum(saved[name][i] * count for name, count in removed.items()) for i in range(len(live))]
            return [before - less - limit for before, less in zip(live, gone, strict=True)]

        def gain(group: ChannelGroup, removed: dict[str, int]) -> float:
            if group.name not in saved:
                return 0.0
            at_peaks = zip(saved[group.name], over(removed), strict=True)
            return slopes[group.name].tail + sum(own for own, still in at_peaks if still > 0)

        self._shrink_cheapest(gain, lambda removed: max(over(removed)) <= 0)
        self.reporter.stage(f"pruned for the peak: the arena was {profile.arena_bytes:,} bytes, aim {round(aim):,}")

    def _tensor_slopes(self) -> tuple[Mapping[str, Sensitivity], Sequence[int]]:
        """Return what a channel of each group has in every tensor, and the tensors' present bytes."""
        graph = plain_graph(self.model, self.size, self.passes)
        present = [tensor.bytes for tensor in graph.tensors]
        if len(present) != self._known[0]:  # at first, and where a pool took another form
            self._known = len(present), self._measure(self.passes)
        return self._known[1], present

    def _measure(self, passes: Passes) -> dict[str, Sensitivity]:
        widths = self.widths
        able = [g for g in widths.groups.groups if widths.next_down(g, n := widths.groups.positions(g)) < n]
        return measure_sensitivity(self.model, self.size, passes, widths.groups, able, widths.round_to)

    def _shrink_cheapest(self, gain: Gain, done: Callable[[dict[str, int]], bool]) -> None:
        """Take rounded steps, the least importance for what is gained first, until ``done`` or nothing gains.

        If nothing gains at all, every group takes one step: what is too large may be the tail.
        """
        widths, groups = self.widths, {group.name: group for group in self.widths.groups.groups}
        start = {name: widths.groups.positions(group) for name, group in groups.items()}
        now = dict(start)
        while not done({name: start[name] - now[name] for name in now if now[name] < start[name]}):
            removed = {name: start[name] - now[name] for name in now if now[name] < start[name]}
            best = min(groups, key=lambda name: self._price(groups[name], now[name], gain, removed))
            if self._price(groups[best], now[best], gain, removed) == float("inf"):
                break
            now[best] = widths.next_down(groups[best], now[best])
        if now == start:
            now = {name: widths.next_down(group, now[name]) for name, group in groups.items()}
        for name, group in groups.items():
            widths.shrink(group, now[name])

    def _price(self, group: ChannelGroup, present: int, gain: Gain, removed: dict[str, int]) -> float:
        """Return the importance lost for one unit gained by a group's next step; infinite where none is."""
        after = self.widths.next_down(group, present)
        gained = gain(group, removed) * (present - after) if after < present else 0.0
        return self.widths.loss(group, present, after) / gained if gained > 0 else float("inf")

    def _check_least(self, name: str, limit: int, measure: Callable[[], int]) -> int:
        """Return the present figure.

        Raises:
            ValueError: even with every group at its floor it is more than ``limit``.
        """
        present = measure()
        if present <= limit:
            return present
        kept = dict(self.widths.scores)
        with self.widths.groups.trial():
            self.widths.to_floor()
            least = measure()
        self.widths.scores = kept
        if least > limit:
            raise ValueError(
                f"{name} must be at least {least:,}, what is left with {self.widths.round_to} channels a layer (or all "
                f"it has, if fewer), got {limit:,}"
            )
        return present
