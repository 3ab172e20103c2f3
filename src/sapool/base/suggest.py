"""Saying what a user may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection


def _likeness(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, b, a).ratio()


def suggest(name: str, known: Collection[str], most_listed: int = 30) -> str:
    """Return the end of a message about an unknown name: the nearest known ones, or all if they are few.

    >>> suggest("averge", ["average", "max"])
    'did you mean average?'
    >>> suggest("zzz", ["average", "max"])
    'choose from average, max'
    """
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        best = _likeness(name, near[0])
        return f"did you mean {' or '.join(n for n in near if _likeness(name, n) > best - 0.1)}?"
    return f"choose from {', '.join(known)}" if len(known) <= most_listed else "there is none of that name"
