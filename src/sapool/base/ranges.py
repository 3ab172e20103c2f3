"""The ranges of whole numbers that users give: checked before anything is built, so that no slip runs for days."""

from __future__ import annotations

from sapool.base.quoting import quote

MOST_EPOCHS = 100_000
MOST_IMAGES = 10**9
MOST_CLASSES = 32_768  # the largest set of ImageNet has 21,841
MOST_SEED = 2**31 - 1


def check_range(name: str, value: object, least: int, most: int) -> None:
    """Check a whole number that a caller gives.

    Raises:
        ValueError: it is none, or not ``least`` to ``most``; the message begins with ``name``.

    >>> check_range("epochs", 3, 1, 10)
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number, got {quote(value)}")
    if value < least:
        raise ValueError(f"{name} must be at least {least:,}, got {quote(value)}")
    if value > most:
        raise ValueError(f"{name} must be at most {most:,}, got {quote(value)}")
