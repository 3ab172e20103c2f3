"""What was pruned, and what it changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from sapool.base.arena import ArenaSize, as_plain
from sapool.base.reading import parse_record


@dataclass(frozen=True)
class LayerChange:
    """Channels of one layer before and after; ``kept_in`` and ``kept_out`` are places among the original ones."""

    name: str
    kind: str
    in_before: int
    in_after: int
    out_before: int
    out_after: int
    kept_in: tuple[int, ...] | None = None
    kept_out: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
        parameters: numbers in its parameters.
        macs: multiply-accumulates of one inference, as the converter writes it without passes; None: not predictable.
        head_bytes: predicted arena of TensorFlow Lite Micro: activations and scratch.
        tail_bytes: what it keeps for tensors and operators.
        total_bytes: their sum.
        peak: the operator where the most is alive.
        setup_bytes: what the runtime needs of the head's room while it plans; None: not predictable, or not recorded.
    """

    parameters: int
    macs: int | None = None
    head_bytes: int | None = None
    tail_bytes: int | None = None
    total_bytes: int | None = None
    peak: str = ""
    setup_bytes: int | None = None

    @property
    def arena_bytes(self) -> int | None:
        """The predicted arena that a RAM budget is for: tail, and head or set-up."""
        if self.head_bytes is None or self.tail_bytes is None:
            return None
        return ArenaSize(self.head_bytes, self.tail_bytes, self.setup_bytes or 0).arena_bytes


@dataclass(frozen=True)
class PruneRecord:
    """One pruning.

    Attributes:
        target: ``ratio``, ``ram_bytes`` or ``macs``.
        value: what was asked for.
        importance: the measure.
        settings: the other arguments.
        input_size: (C, H, W).
        before: of the network that was given.
        after: of the pruned one.
        layers: the layers that lost channels.
    """

    target: str
    value: int | float
    importance: str
    settings: Mapping[str, Any]
    input_size: tuple[int, int, int]
    before: Cost
    after: Cost
    layers: tuple[LayerChange, ...] = field(default=())

    def to_json(self) -> str:
        """Return the record as JSON text; :meth:`from_json` reads it back."""
        return json.dumps(as_plain(self), indent=1)

    @classmethod
    def from_json(cls, text: str) -> PruneRecord:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: the text is no such record.
        """
        try:
            return parse_record(cls, text)
        except ValueError as error:
            raise ValueError(f"not a pruning record: {error}") from None


@dataclass(frozen=True)
class Pruned:
    """A pruned copy of a network, and the record of it."""

    model: nn.Module
    record: PruneRecord
