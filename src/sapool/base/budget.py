"""What a model may need, what it does need, and whether the one is within the other."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from sapool.base.quoting import quote
from sapool.base.reading import parse_record
from sapool.base.sizes import check_count, format_count, format_size

# Records of before budgets could be absent wrote this for no RAM budget.
_OLD_NO_BUDGET = 1 << 40
_UNITS = {
    "ram_bytes": "bytes of RAM",
    "flash_bytes": "bytes of flash",
    "macs": "MACs",
    "instructions": "instructions",
    "latency_ms": "ms",
}


@dataclass(frozen=True)
class Needs:
    """What one model needs, in the figures that budgets are set for; None: not known.

    Attributes:
        ram_bytes: of TensorFlow Lite Micro, the arena that also holds what planning needs (``arena_bytes``).
        flash_bytes: the ``.tflite`` file.
        macs: multiply-accumulates of one inference.
        instructions: of one inference.
        latency_ms: of one inference, in milliseconds.
    """

    ram_bytes: int | None = None
    flash_bytes: int | None = None
    macs: int | None = None
    instructions: int | None = None
    latency_ms: float | None = None

    @property
    def needs(self) -> Needs:
        """Itself: it can be held against a budget as a record can."""
        return self


class Sized(Protocol):
    """A record that says what its model needs."""

    @property
    def needs(self) -> Needs:
        """What is held against a budget."""


@dataclass(frozen=True)
class Excess:
    """What a model needs of something (``unit``: ``bytes of RAM``) beyond a budget for it."""

    unit: str
    used: float
    limit: float

    def __str__(self) -> str:
        """Return it in words: ``25,264 bytes of RAM, 264 over 25,000``."""
        return f"{self.used:,} {self.unit}, {self.used - self.limit:,} over {self.limit:,}"


@dataclass(frozen=True)
class Budget:
    """What a model may need at most; None: as much as it likes.

    Attributes:
        ram_bytes: RAM.
        flash_bytes: flash.
        macs: multiply-accumulates of one inference.
        instructions: of one inference.
        latency_ms: of one inference, in milliseconds.

    >>> budget = Budget(ram_bytes=64 * 1024, flash_bytes=1024 * 1024)
    >>> str(budget), budget.fits(Needs(ram_bytes=65536, flash_bytes=1000))
    ('64 KiB of RAM, 1 MiB of flash', True)
    """

    ram_bytes: int | None = None
    flash_bytes: int | None = None
    macs: int | None = None
    instructions: int | None = None
    latency_ms: float | None = None

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: a figure that is no whole number of 1 to 2**53, or a latency that is not over 0 and finite.
        """
        for name in ("ram_bytes", "flash_bytes", "macs", "instructions"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        latency = self.latency_ms
        number = isinstance(latency, int | float) and not isinstance(latency, bool)
        if latency is not None and not (number and 0 < latency < math.inf):
            raise ValueError(f"latency_ms must be a number over 0, got {quote(latency)}")

    def fits(self, size: Sized) -> bool:
        """Whether a model needs at most this.

        Args:
            size: what is known of it: an ``ArenaSize``, a record, a plan's candidate, or :class:`Needs`.

        Raises:
            ValueError: a figure that the budget is for is not known.
        """
        needs = size.needs
        return all(_known(needs, name) <= limit for name, limit in self._limits().items())

    def share(self, size: Sized) -> dict[str, float]:
        """Return how much of each budget that is set a model uses: 1 is all of it.

        Raises:
            ValueError: a figure that the budget is for is not known.
        """
        needs = size.needs
        return {name: _known(needs, name) / limit for name, limit in self._limits().items()}

    def largest_share(self, size: Sized) -> float:
        """Return the share of the budget that is used most, 0 where none is set: at most 1 where the model fits."""
        return max(self.share(size).values(), default=0.0)

    def over(self, size: Sized) -> tuple[Excess, ...]:
        """Return each budget that a model exceeds, and by how much; empty where it fits.

        Raises:
            ValueError: a figure that the budget is for is not known.
        """
        needs = size.needs
        found = (Excess(_UNITS[name], _known(needs, name), limit) for name, limit in self._limits().items())
        return tuple(excess for excess in found if excess.used > excess.limit)

    def _limits(self) -> dict[str, float]:
        return {name: limit for name, limit in asdict(self).items() if limit is not None}

    def __str__(self) -> str:
        """Return it for people: ``64 KiB of RAM, 1 MiB of flash``; without one of RAM it says so."""
        said = ["no RAM budget" if self.ram_bytes is None else f"{format_size(self.ram_bytes)} of RAM"]
        said += [] if self.flash_bytes is None else [f"{format_size(self.flash_bytes)} of flash"]
        said += [] if self.macs is None else [f"{format_count(self.macs)} MACs"]
        said += [] if self.instructions is None else [f"{format_count(self.instructions)} instructions"]
        said += [] if self.latency_ms is None else [f"{self.latency_ms:g} ms"]
        return ", ".join(said)

    def in_bytes(self) -> str:
        """Return its memory in the unit that arenas are shown in: ``65,536 bytes of RAM and 1,048,576 of flash``."""
        ram = "" if self.ram_bytes is None else f"{self.ram_bytes:,} bytes of RAM"
        flash = "" if self.flash_bytes is None else f"{self.flash_bytes:,}{'' if ram else ' bytes'} of flash"
        return " and ".join(filter(None, (ram, flash))) or "no RAM budget"

    @classmethod
    def given(cls, budget: Budget | None, **limits: int | None) -> Budget:
        """Return the budget that a caller gives as a whole or figure by figure.

        Raises:
            ValueError: both at once, or a figure out of its range.
        """
        named = [name for name, limit in limits.items() if limit is not None]
        if budget is None:
            return cls(**limits)
        if named:
            raise ValueError(f"budget and {named[0]} exclude each other: put it into the budget")
        return budget

    def to_json(self) -> str:
        """Return it as JSON text; :meth:`from_json` reads it back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Budget:
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: the text is no budget.
        """
        try:
            return parse_record(cls, text)
        except ValueError as error:
            raise ValueError(f"not a budget: {error}") from None

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> Budget:
        """Return the budget in a configuration as JSON holds it, an old one's too; an entry that lacks is no limit.

        Raises:
            ValueError: a value out of its range.
        """
        held = as_written_today(config)
        return cls(**{name: held.get(name) for name in _UNITS})


def as_written_today(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration of any age with None where it has no RAM budget; old ones have a very large one."""
    return {**config} | ({"ram_bytes": None} if config.get("ram_bytes") == _OLD_NO_BUDGET else {})


def _known(needs: Needs, name: str) -> float:
    value: float | None = getattr(needs, name)
    if value is None:
        raise ValueError(f"a budget of {_UNITS[name]} can't be judged: how much the model needs is not known")
    return value
