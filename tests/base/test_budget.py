from __future__ import annotations

import itertools
import math

import pytest

from sapool.base.arena import ArenaSize
from sapool.base.budget import Budget, Needs
from sapool.base.records import ArenaRecord

NAMES = ("ram_bytes", "flash_bytes", "macs", "instructions", "latency_ms")


def test_a_model_fits_when_every_figure_is_within_its_budget() -> None:
    for used in itertools.product((9, 10, 11), repeat=3):
        needs = Needs(*used)
        for limits in itertools.product((None, 10), repeat=3):
            budget = Budget(*limits)
            within = [limit is None or amount <= limit for amount, limit in zip(used, limits, strict=True)]
            assert budget.fits(needs) == all(within)
            assert (budget.largest_share(needs) <= 1) == all(within)
            assert len(budget.over(needs)) == within.count(False)


def test_shares_are_of_the_budgets_that_are_set() -> None:
    needs = Needs(ram_bytes=50, flash_bytes=300, latency_ms=3.0)
    assert Budget(ram_bytes=100, flash_bytes=200).share(needs) == {"ram_bytes": 0.5, "flash_bytes": 1.5}
    assert Budget(latency_ms=4.0).share(needs) == {"latency_ms": 0.75}
    assert Budget().share(needs) == {}
    assert Budget().largest_share(needs) == 0.0
    assert Budget().fits(Needs())


def test_the_arena_that_planning_needs_is_judged() -> None:
    size, record = ArenaSize(1000, 500, 1200), ArenaRecord(1000, 500, 1500, 9, (), "none", 1200)
    assert size.total_bytes == record.total_bytes == 1500
    for thing in (size, record):
        assert Budget(ram_bytes=1700).fits(thing)
        assert not Budget(ram_bytes=1699).fits(thing)
    assert record.fits(1700, 9)
    assert not record.fits(1699, 9)
    assert not record.fits(1700, 8)


def test_what_is_not_known_is_not_judged() -> None:
    with pytest.raises(ValueError, match=r"a budget of bytes of flash can't be judged: .* not known"):
        Budget(ram_bytes=10, flash_bytes=10).fits(ArenaSize(1, 1))
    with pytest.raises(ValueError, match="a budget of MACs"):
        Budget(macs=5).share(ArenaSize(1, 1))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0, -5, "64KiB", math.nan])
def test_a_budget_out_of_its_range_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be "):
        Budget(**{name: value})  # type: ignore[arg-type]


def test_sizes_over_the_exact_numbers_are_refused() -> None:
    for value in (2**53 + 1, 10**80, 64.0, True):
        with pytest.raises(ValueError, match=r"^flash_bytes must be (a whole number|at most)"):
            Budget(flash_bytes=value)  # type: ignore[arg-type]
    assert Budget(ram_bytes=2**53).ram_bytes == 2**53
    for value in (math.inf, True):
        with pytest.raises(ValueError, match="latency_ms must be a number over 0"):
            Budget(latency_ms=value)


@pytest.mark.parametrize(
    "budget", [Budget(), Budget(1), Budget(2**53, 2**20, 7, 9, 0.5), Budget(flash_bytes=3), Budget(1 << 40)]
)
def test_budgets_survive_json(budget: Budget) -> None:
    assert Budget.from_json(budget.to_json()) == budget


@pytest.mark.parametrize("text", ["", "[]", "3", '{"ram": 3}', '{"ram_bytes": 0}', '{"ram_bytes": "64KiB"}'])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not a budget: "):
        Budget.from_json(text)


def test_a_configuration_says_its_budget_an_old_one_too() -> None:
    assert Budget.of_config({"model": "x", "ram_bytes": 5, "flash_bytes": None}) == Budget(ram_bytes=5)
    assert Budget.of_config({"ram_bytes": 1099511627776}) == Budget()


@pytest.mark.parametrize(
    ("budget", "text"),
    [
        (Budget(65536, 2**20), "64 KiB of RAM, 1 MiB of flash"),
        (Budget(65000), "65,000 bytes of RAM"),
        (Budget(), "no RAM budget"),
        (Budget(flash_bytes=1024, macs=20_000_000), "no RAM budget, 1 KiB of flash, 20M MACs"),
        (Budget(1024, instructions=5_000_000, latency_ms=100), "1 KiB of RAM, 5M instructions, 100 ms"),
    ],
)
def test_a_budget_in_words(budget: Budget, text: str) -> None:
    assert str(budget) == text


def test_what_is_over_a_budget_in_words() -> None:
    needs = Needs(ram_bytes=25_264, flash_bytes=1000, latency_ms=1.5)
    said = ["25,264 bytes of RAM, 264 over 25,000", "1,000 bytes of flash, 1 over 999", "1.5 ms, 0.5 over 1.0"]
    assert [str(excess) for excess in Budget(25_000, 999, latency_ms=1.0).over(needs)] == said
    assert Budget(25_264, 1000).over(needs) == ()


@pytest.mark.parametrize(
    ("budget", "text"),
    [
        (Budget(2048, 2**20), "2,048 bytes of RAM and 1,048,576 of flash"),
        (Budget(2048), "2,048 bytes of RAM"),
        (Budget(flash_bytes=2048, macs=3), "2,048 bytes of flash"),
        (Budget(macs=3), "no RAM budget"),
    ],
)
def test_a_budget_in_bytes(budget: Budget, text: str) -> None:
    assert budget.in_bytes() == text


def test_a_budget_is_given_whole_or_figure_by_figure() -> None:
    whole = Budget(5, macs=7)
    assert Budget.given(whole, ram_bytes=None) is whole
    assert Budget.given(None, ram_bytes=5, macs=7) == whole
    with pytest.raises(ValueError, match="budget and macs exclude each other"):
        Budget.given(whole, ram_bytes=None, macs=7)
