"""How many channels each group keeps, and which: rounding, floors, the least important first."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

from sapool.pruning.groups import ChannelGroup, ChannelGroups, Scorer


@dataclass
class Widths:
    """The groups of a network with the importance of their channels, and rounded steps down.

    Attributes:
        groups: the network's channels.
        round_to: remaining channels are a multiple of this where the original ones reach it.
        scorers: the importance, and its stand-in.
    """

    groups: ChannelGroups
    round_to: int
    scorers: tuple[Scorer, Scorer]
    scores: dict[str, Tensor] = field(default_factory=dict)

    def rescore(self) -> None:
        """Compute the importance of all present channels."""
        self.scores = {group.name: self.groups.scores(group, *self.scorers) for group in self.groups.groups}

    def unit(self, group: ChannelGroup) -> int:
        """Return the positions whose channels, in all of the group's repeats, make a multiple of ``round_to``."""
        return self.round_to // math.gcd(self.round_to, group.repeats)

    def floor(self, group: ChannelGroup) -> int:
        """Return the least positions a group keeps."""
        return min(self.groups.positions(group), self.unit(group))

    def next_down(self, group: ChannelGroup, positions: int) -> int:
        """Return the next smaller rounded number of positions; ``positions`` itself at the floor."""
        unit = self.unit(group)
        return max(unit, (positions - 1) // unit * unit) if positions > unit else positions

    def nearest(self, group: ChannelGroup, wanted: float) -> int:
        """Return the rounded number of positions nearest to ``wanted``, at most what is there."""
        unit, present = self.unit(group), self.groups.positions(group)
        return min(present, max(unit, math.floor(wanted / unit + 0.5) * unit))

    def shrink(self, group: ChannelGroup, positions: int) -> None:
        """Remove a group's least important channels until ``positions`` are left."""
        scores = self.scores[group.name]
        order = scores.argsort(stable=True)
        gone = order[: len(scores) - positions].tolist()
        self.groups.remove(group, gone)
        left = sorted(set(range(len(scores))) - set(gone))
        self.scores[group.name] = scores[left]

    def loss(self, group: ChannelGroup, present: int, positions: int) -> float:
        """Return the share of the remaining importance that goes with the step from ``present`` to ``positions``."""
        ranked = self.scores[group.name].sort().values
        gone = len(ranked) - present
        remaining = float(ranked[gone:].sum())
        return float(ranked[gone : len(ranked) - positions].sum()) / remaining if remaining > 0 else 0.0

    def to_floor(self) -> None:
        """Shrink every group to the least it keeps."""
        for group in self.groups.groups:
            self.shrink(group, self.floor(group))
