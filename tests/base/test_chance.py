from __future__ import annotations

import math

import pytest

from sapool.base.chance import is_guessing, wilson_interval


@pytest.mark.parametrize(("right", "total"), [(0, 10), (1, 3), (5, 10), (97, 100), (10, 10)])
def test_the_ends_solve_wilsons_equation(right: int, total: int) -> None:
    # |share - p| = z sqrt(p (1 - p) / n) at both ends that lie inside (0, 1)
    for end in wilson_interval(right, total):
        if 1e-9 < end < 1 - 1e-9:
            difference = abs(right / total - end)
            assert difference == pytest.approx(1.959963984540054 * math.sqrt(end * (1 - end) / total), rel=1e-9)


def test_a_third_of_three_classes_is_guessing() -> None:
    assert is_guessing(20, 60, 20)
    assert is_guessing(25, 60, 20)
    assert not is_guessing(40, 60, 20)


@pytest.mark.parametrize(("right", "total"), [(1, 0), (-1, 5), (6, 5)])
def test_no_share(right: int, total: int) -> None:
    with pytest.raises(ValueError, match="right must be 0 to total"):
        wilson_interval(right, total)
