from __future__ import annotations

import time

from sapool.base.quoting import escape_controls, one_line, quote


def test_huge_values_are_cut_without_being_looked_at() -> None:
    value: list[object] = ["x" * 1000]
    for _ in range(60):  # 2**60 entries if it were written out
        value = [value, value]
    start = time.perf_counter()
    assert len(quote(value)) <= 100
    assert len(quote("y" * 10_000_000)) <= 100
    assert len(quote({i: i for i in range(100_000)})) <= 100
    assert quote(int("9" * 4000)) == "a whole number of about 4,000 digits"
    assert time.perf_counter() - start < 1


def test_short_values_stay_as_they_are() -> None:
    assert quote([1, "a", None]) == "[1, 'a', None]"
    assert quote("it's") == '"it\'s"'
    assert quote(2.5) == "2.5"


def test_control_characters_are_shown() -> None:
    assert escape_controls("\x1b]0;owned\x07name\u202egnp") == r"\x1b]0;owned\x07name\u202egnp"
    assert escape_controls("a\nb", keep="\n") == "a\nb"
    assert escape_controls("Füße 猫 [/x]") == "Füße 猫 [/x]"
    assert one_line("a\n\tb\x1b[2J" + "c" * 1000, 20) == r"a b\x1b[2Jccccccc..."
