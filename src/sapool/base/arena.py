"""The tensor arena of TensorFlow Lite Micro in numbers, and the one of them that must be reserved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from sapool.base.budget import Needs

# Sums that a class computes and that are written beside what it holds, so that no reader has to add.
_SUMS = ("total_bytes", "arena_bytes")


@dataclass(frozen=True)
class ArenaSize:
    """What one model needs of an arena, in bytes.

    Attributes:
        head_bytes: activations and scratch, while the model runs.
        tail_bytes: persistent data.
        setup_bytes: what the runtime needs of the head's room while it plans, before the model runs; more than the head
            itself only where there are many small tensors.

    >>> ArenaSize(1000, 500, 1200).arena_bytes
    1700
    """

    head_bytes: int
    tail_bytes: int
    setup_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """Head and tail: what is in use while the model runs."""
        return self.head_bytes + self.tail_bytes

    @property
    def arena_bytes(self) -> int:
        """The least arena that runs the model, the figure every budget is held against: tail, and head or set-up."""
        return self.tail_bytes + max(self.head_bytes, self.setup_bytes)

    @property
    def needs(self) -> Needs:
        """What is held against a budget."""
        return Needs(ram_bytes=self.arena_bytes)


def as_plain(value: Any) -> Any:
    """Return what JSON can hold of a record, as ``dataclasses.asdict`` does, its arenas' sums beside their parts."""
    if is_dataclass(value):
        held = {field.name: as_plain(getattr(value, field.name)) for field in fields(value)}
        computed = [name for name in _SUMS if isinstance(getattr(type(value), name, None), property)]
        return held | {name: getattr(value, name) for name in computed}
    if isinstance(value, Mapping):
        return {key: as_plain(one) for key, one in value.items()}
    return [as_plain(one) for one in value] if isinstance(value, list | tuple) else value
