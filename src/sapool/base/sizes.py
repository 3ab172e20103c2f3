"""Bytes and counts as people write them: ``128KiB``, ``20M``; each number checked where it comes in."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sapool.base.quoting import quote

MOST = 2**53
"""The largest size or count that is taken: up to here every whole number is exact in JSON and as a float."""

_BYTES = {"": 1, "B": 1, "kB": 1000, "MB": 1000**2, "KiB": 1024, "MiB": 1024**2}
_COUNTS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_LONGEST = 40  # characters; MOST has 16 digits


def parse_size(text: str) -> int:
    """Return the bytes that ``131072``, ``128KiB``, ``128kB`` or ``1MiB`` stands for; a part of a byte is cut off.

    Raises:
        ValueError: anything else, under 1 byte or over :data:`MOST`.

    >>> parse_size("1.5KiB")
    1536
    """
    return _parse(text, _BYTES, "size", "bytes (131072), KiB or MiB (1024), kB or MB (1000): 128KiB")


def parse_count(text: str) -> int:
    """Return the number that ``300000``, ``300k``, ``10M`` or ``1.5G`` stands for; a part of one is cut off.

    Raises:
        ValueError: anything else, under 1 or over :data:`MOST`.

    >>> parse_count("20M")
    20000000
    """
    return _parse(text, _COUNTS, "count", "300000, 300k, 10M or 1.5G")


def _parse(text: str, units: Mapping[str, int], what: str, examples: str) -> int:
    found = re.fullmatch(r"\s*([0-9]+)(?:\.([0-9]+))?\s*([A-Za-z]*)\s*", text)
    if found is None or found[3] not in units:
        raise ValueError(f"not a {what}: {quote(text, _LONGEST)}; write {examples}")
    # A number of a million digits takes seconds to read: its length alone says that it is too large.
    whole, part = found[1].lstrip("0"), (found[2] or "")[:_LONGEST]
    long = len(whole) > _LONGEST
    count = MOST + 1 if long else int(f"{whole}{part}" or "0") * units[found[3]] // 10 ** len(part)
    if not 1 <= count <= MOST:
        least = "1 byte" if what == "size" else "1"
        raise ValueError(f"not a {what}: {quote(text, _LONGEST)}; it must be at least {least} and at most {MOST:,}")
    return count


def check_count(name: str, value: object) -> None:
    """Check a size in bytes or a count that a caller gives.

    Raises:
        ValueError: no whole number of 1 to :data:`MOST`; the message begins with ``name``.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number, got {quote(value)}")
    if not 1 <= value <= MOST:
        unit = " byte" if name.endswith("_bytes") else ""
        rule = f"at least 1{unit}" if value < 1 else f"at most {MOST:,}"
        raise ValueError(f"{name} must be {rule}, got {quote(value)}")


def format_size(count: int) -> str:
    """Return bytes as text, never rounded: ``64 KiB``, ``1 MiB``, ``65,000 bytes``."""
    for unit in ("MiB", "KiB"):
        if count and count % _BYTES[unit] == 0:
            return f"{count // _BYTES[unit]:,} {unit}"
    return "1 byte" if count == 1 else f"{count:,} bytes"


def format_count(count: int) -> str:
    """Return a count as text, never rounded: ``20M``, ``300k``, ``1,234``.

    >>> format_count(20_000_000)
    '20M'
    """
    for unit in ("G", "M", "k"):
        if count and count % _COUNTS[unit] == 0:
            return f"{count // _COUNTS[unit]:,}{unit}"
    return f"{count:,}"


def format_kib(count: int | None) -> str:
    """Return a budget in bytes as part of a folder's name: ``96KiB``, ``1000B`` where KiB would not be whole."""
    if count is None:
        return "unlimited"
    return f"{count // 1024}KiB" if count % 1024 == 0 else f"{count}B"
