"""Which tensors get smaller when a group of channels does, and what it saves in multiply-accumulates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from sapool.memory.persistent import tail_bytes
from sapool.pruning.costs import Passes, Size, plain_graph
from sapool.pruning.groups import ChannelGroup, ChannelGroups
from sapool.tflite import Graph, count_macs

# A tensor of the exported file is named after the plain graph's, with its place there: "blocks.0.act1;12".
_PLACE = re.compile(r";(\d+)")


@dataclass(frozen=True)
class Sensitivity:
    """What one channel position of a group costs.

    Attributes:
        tensors: place of a tensor in the plain graph -> its bytes for one position; they don't depend on the others.
        macs: multiply-accumulates, which depend on how wide the layers before and behind are.
        tail: bytes that the runtime keeps for its weights' scales.
    """

    tensors: Mapping[int, float]
    macs: float
    tail: float

    def saved_at(self, live: Sequence[tuple[str, int]], present: Sequence[int]) -> float:
        """Return the bytes of one position in the tensors alive at an operator.

        ``live`` has (name, bytes) of tensors or of tiles of them, ``present`` the bytes of all of the plain graph's.
        """
        places = ((place_of(name), size) for name, size in live)
        return sum(size * self.tensors[place] / present[place] for place, size in places if place in self.tensors)


def place_of(name: str) -> int:
    """Return the place in the plain graph of the tensor that an exported one is, or is a tile of; -1: of none."""
    found = _PLACE.search(name)
    return int(found[1]) if found else -1


def measure_sensitivity(
    model: nn.Module, size: Size, passes: Passes, groups: ChannelGroups, candidates: Sequence[ChannelGroup], step: int
) -> dict[str, Sensitivity]:
    """Try the removal of ``step`` positions of every candidate, one after the other, and take each back.

    Args:
        model: the network that ``groups`` prunes.
        size: (C, H, W).
        passes: the export's: pooling layers are lowered in the form that they give them.
        groups: its channels.
        candidates: the groups to try.
        step: positions to remove; of a group that has no more than that, all but one.

    Returns:
        Group name -> what it costs.
    """
    memo: dict[object, object] = {}
    before = plain_graph(model, size, passes, memo)
    found = {}
    for group in candidates:
        count = min(step, groups.positions(group) - 1)
        with groups.trial():
            groups.remove(group, range(count))
            after = plain_graph(model, size, passes, memo)
        macs, tail = count_macs(before) - count_macs(after), tail_bytes(before) - tail_bytes(after)
        found[group.name] = Sensitivity(_slopes(before, after, count), macs / count, tail / count)
    return found


def _slopes(before: Graph, after: Graph, count: int) -> dict[int, float]:
    if len(before.tensors) != len(after.tensors):  # a pool took another form: its tensors can't be told apart
        return {}
    pairs = enumerate(zip(before.tensors, after.tensors, strict=True))
    return {
        place: (old.bytes - new.bytes) / count
        for place, (old, new) in pairs
        if not old.constant and old.bytes > new.bytes
    }
