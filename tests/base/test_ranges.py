from __future__ import annotations

import pytest

from sapool.base.ranges import check_range


@pytest.mark.parametrize("value", [1, 5, 10])
def test_what_is_within_passes(value: int) -> None:
    check_range("epochs", value, 1, 10)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "^epochs must be at least 1, got 0$"),
        (11, "^epochs must be at most 10, got 11$"),
        (10**400, "^epochs must be at most 10, got a whole number of about 400 digits$"),
        (True, "^epochs must be a whole number, got True$"),
        (2.5, r"^epochs must be a whole number, got 2\.5$"),
    ],
)
def test_what_is_not_is_named_with_its_bound(value: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_range("epochs", value, 1, 10)
