from __future__ import annotations

import math
import statistics

import pytest

from sapool.report.statistics import compare_paired, estimate

# Student's t at 97.5 %, from printed tables.
T_975 = {2: 4.302653, 4: 2.776445, 7: 2.364624}


@pytest.mark.parametrize(
    "values", [[0.7, 0.8, 0.75], [0.5, 0.51, 0.49, 0.55, 0.47], [0.1, 0.4, 0.2, 0.8, 0.3, 0.9, 0.5, 0.6]]
)
def test_the_interval_is_students(values: list[float]) -> None:
    found = estimate(values)
    half = T_975[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))
    assert found.mean == pytest.approx(statistics.mean(values))
    assert found.low == pytest.approx(statistics.mean(values) - half, abs=1e-6)
    assert found.high == pytest.approx(statistics.mean(values) + half, abs=1e-6)
    assert found.count == len(values)


@pytest.mark.parametrize("values", [[0.7], [0.7, 0.9]])
def test_under_three_seeds_there_is_no_interval(values: list[float]) -> None:
    found = estimate(values)
    assert (found.low, found.high) == (None, None)
    assert found.mean == pytest.approx(sum(values) / len(values))
    assert compare_paired(values, values, "avg").p_value is None


def test_pairing_takes_away_what_seeds_share() -> None:
    """Seeds differ by ten points, the poolings by one at every seed, give or take a tenth."""
    ours, theirs = [0.511, 0.610, 0.709, 0.81], [0.5, 0.6, 0.7, 0.8]
    found = compare_paired(ours, theirs, "avg")
    assert found.mean == pytest.approx(0.01)
    assert found.low is not None
    assert found.low > 0.008
    assert found.p_value is not None
    assert found.p_value < 0.001
    assert found.rival == "avg"
    alone = estimate(ours)
    assert alone.low is not None
    assert alone.low < 0.6  # unpaired, the two could not be told apart


def test_the_paired_p_value_is_the_tables() -> None:
    # t = mean / (s / sqrt(n)) = 4.302653 with two degrees of freedom: p = 0.05.
    spread = 0.01
    mean = T_975[2] * spread / math.sqrt(3)
    differences = [mean - spread, mean, mean + spread]
    found = compare_paired(differences, [0.0, 0.0, 0.0], "avg")
    assert found.p_value == pytest.approx(0.05, abs=1e-5)
    assert found.low == pytest.approx(0.0, abs=1e-6)


def test_no_spread_is_no_warning() -> None:
    assert estimate([0.5, 0.5, 0.5]).low == 0.5
    assert compare_paired([0.5] * 3, [0.5] * 3, "avg").p_value == 1.0
    assert compare_paired([1.0] * 3, [0.5] * 3, "avg").p_value == 0.0


def test_what_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        estimate([])
    with pytest.raises(ValueError, match="as many on both sides, got 1 and 2"):
        compare_paired([0.1], [0.1, 0.2], "avg")
