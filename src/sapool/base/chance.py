"""Whether an accuracy is more than guessing."""

from __future__ import annotations

import math

_Z = 1.959963984540054  # two-sided 95 %


def wilson_interval(right: int, total: int, z: float = _Z) -> tuple[float, float]:
    """Return the Wilson score interval (95 %) of a share: ``right`` of ``total`` (E. B. Wilson, JASA 22, 1927).

    Raises:
        ValueError: not 0 <= right <= total with total at least 1.

    >>> low, high = wilson_interval(50, 100)
    >>> round(low, 3), round(high, 3)
    (0.404, 0.596)
    """
    if total < 1 or not 0 <= right <= total:
        raise ValueError(f"right must be 0 to total, total at least 1, got {right} of {total}")
    share = right / total
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def is_guessing(right: int, total: int, largest_class: int) -> bool:
    """Whether ``right`` of ``total`` may come from always naming the class that has ``largest_class`` of them.

    >>> is_guessing(20, 60, 20), is_guessing(45, 60, 20)
    (True, False)
    """
    return wilson_interval(right, total)[0] <= largest_class / total
