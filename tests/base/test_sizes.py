from __future__ import annotations

import time

import pytest

from sapool.base.sizes import MOST, check_count, format_count, format_kib, format_size, parse_count, parse_size


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("131072", 2**17),
        ("128KiB", 2**17),
        ("128kB", 128_000),
        ("1MiB", 2**20),
        ("1.5 MB", 1_500_000),
        (" 7B ", 7),
        (" 2 KiB ", 2048),
        ("0.1MiB", 104_857),  # 104857.6: a part of a byte is cut off
        ("9007199254740992", 2**53),
        ("8589934592MiB", 2**53),
    ],
)
def test_a_size_is_read_exactly(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize(
    ("text", "count"), [("300000", 300_000), ("300k", 300_000), ("20M", 20_000_000), (" 1.5G ", 1_500_000_000)]
)
def test_a_count_is_read_exactly(text: str, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize(
    "text", ["", "lots", "KiB", "-1", "1e6", "10^80", "1KB", "12 GiB", "1 2", "1,000", "٣", "inf", "nan", "0x10"]
)
def test_what_is_no_size_is_refused_with_what_is_one(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not a size: .*; write bytes \(131072\)"):
        parse_size(text)
    with pytest.raises(ValueError, match=r"^not a count: "):
        parse_count(text)


@pytest.mark.parametrize(
    "text",
    ["0", "0.4", "9007199254740993", "8589934593MiB", "1" + "0" * 80, "9" * 2_000_000, "0." + "0" * 2_000_000],
    ids=range(7),
)
def test_a_size_out_of_range_is_refused_at_once_in_one_short_line(text: str) -> None:
    begin = time.perf_counter()
    with pytest.raises(
        ValueError, match=r"^not a size: .*; it must be at least 1 byte and at most 9,007,199,254,740,992$"
    ) as told:
        parse_size(text)
    assert time.perf_counter() - begin < 1
    assert len(str(told.value)) < 200
    assert "\n" not in str(told.value)


def test_a_count_out_of_range_is_refused() -> None:
    for text in ("0", "0.1", "10000000G"):
        with pytest.raises(ValueError, match=r"^not a count: .*; it must be at least 1 and at most"):
            parse_count(text)


def test_zeros_in_front_change_nothing() -> None:
    assert parse_size("0" * 100 + "12KiB") == 12 * 1024


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (0, "at least 1 byte, got 0"),
        (-1, "at least 1 byte, got -1"),
        (1.0, "a whole number, got 1.0"),
        (True, "a whole number"),
        (None, "a whole number"),
        ("6" * 1000, "a whole number"),
        (MOST + 1, "at most 9,007,199,254,740,992, got 9007199254740993"),
        (10**80, "at most 9,007,199,254,740,992, got a whole number of about 80 digits"),
        (10**100_000, "at most 9,007,199,254,740,992, got a whole number of about 100,000 digits"),
    ],
    ids=range(9),
)
def test_what_a_caller_gives_is_checked(value: object, rule: str) -> None:
    with pytest.raises(ValueError, match=f"^ram_bytes must be {rule}") as told:
        check_count("ram_bytes", value)
    assert len(str(told.value)) < 200
    check_count("ram_bytes", 1)
    check_count("ram_bytes", MOST)


@pytest.mark.parametrize(
    ("count", "text"),
    [(1, "1 byte"), (1000, "1,000 bytes"), (1024, "1 KiB"), (65_537, "65,537 bytes"), (2**20, "1 MiB"), (0, "0 bytes")],
)
def test_a_size_is_shown_without_rounding(count: int, text: str) -> None:
    assert format_size(count) == text


def test_counts_and_folder_names() -> None:
    assert [format_count(n) for n in (20_000_000, 1_500_000, 1_234, 3 * 10**9)] == ["20M", "1,500k", "1,234", "3G"]
    assert [format_kib(n) for n in (98_304, 1000, None)] == ["96KiB", "1000B", "unlimited"]


@pytest.mark.parametrize("count", [1, 999, 1024, 65_537, 3 * 2**20, MOST])
def test_what_is_shown_can_be_read_back(count: int) -> None:
    shown = format_size(count).replace(",", "")
    assert parse_size(shown.replace("bytes", "B").replace("byte", "B")) == count
    assert parse_count(format_count(count).replace(",", "")) == count
