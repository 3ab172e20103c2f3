from __future__ import annotations

import pytest

from sapool.cli import parse_size


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("131072", 131072),
        ("128KiB", 131072),
        ("128kB", 128000),
        ("1MiB", 1 << 20),
        ("1.5MB", 1_500_000),
        (" 2 KiB ", 2048),
    ],
)
def test_sizes(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "KiB", "12KB", "-5", "1e5", "12 GiB", "0", "0.2"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_size(text)
