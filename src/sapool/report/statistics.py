"""Means with intervals, and paired tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sapool.base.extras import require

CONFIDENCE = 0.95
LEAST_SEEDS = 3


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, with its 95 % t-interval; ``low`` and ``high`` are None under three values."""

    mean: float
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True)
class PairedDifference:
    """How far one pooling is from a rival over the seeds that both have.

    Attributes:
        rival: the rival's label.
        mean: the mean difference, ours minus the rival's.
        low: lower end of its 95 % interval; None under three seeds.
        high: upper end.
        p_value: of the paired t-test, two-sided, not corrected for several tests; None under three seeds.
        count: seeds.
    """

    rival: str
    mean: float
    low: float | None
    high: float | None
    p_value: float | None
    count: int


def estimate(values: Sequence[float]) -> Estimate:
    """Return mean and 95 % t-interval of independent values; fewer than three give no interval.

    Raises:
        ValueError: no values.
    """
    low, high, _ = _t_interval(values)
    return Estimate(math.fsum(values) / len(values), low, high, len(values))


def compare_paired(ours: Sequence[float], theirs: Sequence[float], rival: str) -> PairedDifference:
    """Return the mean difference of values paired by seed, its 95 % interval and the paired t-test's p-value.

    Raises:
        ValueError: no pairs, or a different number of values.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"paired values must be as many on both sides, got {len(ours)} and {len(theirs)}")
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    low, high, p_value = _t_interval(differences)
    return PairedDifference(rival, math.fsum(differences) / len(ours), low, high, p_value, len(ours))


def _t_interval(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """Return the interval of a mean, and the p-value of its being zero."""
    if not values:
        raise ValueError("a mean needs at least one value")
    if len(values) < LEAST_SEEDS:
        return None, None, None
    # No spread but that of rounding: the interval is the value, and t is not defined.
    if math.isclose(max(values), min(values), rel_tol=1e-12, abs_tol=1e-12):
        return values[0], values[0], 1.0 if math.isclose(values[0], 0, abs_tol=1e-12) else 0.0
    tested = require("scipy.stats", "train", "statistics").ttest_1samp(values, 0.0)
    interval = tested.confidence_interval(CONFIDENCE)
    return float(interval.low), float(interval.high), float(tested.pvalue)
