from __future__ import annotations

import itertools

import pytest

from sapool import load_model
from sapool.search import PlanSearch, search_plans


@pytest.fixture(scope="module")
def found() -> PlanSearch:
    return search_plans(load_model("sapool:tiny", 10), 32, ram_bytes=32 * 1024, num_heads=(1,), patch_factors=(1,))


def test_what_fits_comes_first_ranked_by_the_macs_that_the_network_keeps(found: PlanSearch) -> None:
    fits = [candidate.fits for candidate in found.candidates]
    assert 0 < sum(fits) < len(fits)
    assert fits == sorted(fits, reverse=True)
    assert [c.fits for c in found.candidates] == [c.total_bytes <= 32 * 1024 for c in found.candidates]
    kept = [c.network_macs for c in found.candidates if c.fits]
    assert kept == sorted(kept, reverse=True)
    over = [c.total_bytes for c in found.candidates if not c.fits]
    assert over == sorted(over)
    assert found.best == found.candidates[0]
    assert found.predicted == len(found.candidates) == found.space


def test_the_front_is_what_no_other_plan_beats(found: PlanSearch) -> None:
    for one, other in itertools.product(found.front, found.candidates):
        assert not (other.total_bytes < one.total_bytes and other.network_macs >= one.network_macs)
        assert not (other.total_bytes <= one.total_bytes and other.network_macs > one.network_macs)
    sizes = [candidate.total_bytes for candidate in found.front]
    assert sizes == sorted(set(sizes))


def test_every_pooling_has_its_best_and_pools_cost_macs_of_their_own(found: PlanSearch) -> None:
    best = found.best_of("self_attentive")
    assert best is not None
    assert best.macs > best.network_macs
    strided = found.best_of("strided")
    assert strided is not None
    assert strided.macs == strided.network_macs
    assert found.best_of("max") is None


def test_budgets_for_flash_and_macs_are_kept_and_a_budget_that_nothing_keeps_has_no_best() -> None:
    net = load_model("sapool:tiny", 10)
    macs = 2_000_000
    found = search_plans(net, 32, ram_bytes=64 * 1024, flash_bytes=100_000, macs=macs, pools=("avg", "strided"))
    assert found.best is not None
    assert all(c.flash_bytes <= 100_000 and c.macs <= macs for c in found.candidates if c.fits)
    assert search_plans(net, 32, ram_bytes=1000, pools=("strided",)).best is None


def test_several_input_sizes_and_placements_are_searched() -> None:
    net = load_model("sapool:tiny", 10)
    found = search_plans(
        net, 32, ram_bytes=64 * 1024, pools=("avg",), placements=("block", "in-place"), input_sizes=(48,)
    )
    assert {c.plan.input_size for c in found.candidates} == {(3, 32, 32), (3, 48, 48)}
    assert {c.placement for c in found.candidates} == {"block", "in-place"}


def test_a_space_too_large_to_go_through_is_searched_by_guidance() -> None:
    net = load_model("sapool:tiny", 10)
    pools = ("avg", "max", "strided")
    twice = [search_plans(net, 32, ram_bytes=32 * 1024, pools=pools, trials=40, seed=1) for _ in range(2)]
    assert twice[0] == twice[1]
    assert 10 < twice[0].predicted <= 40 < twice[0].space
    whole = search_plans(net, 32, ram_bytes=32 * 1024, pools=pools)
    assert set(map(repr, twice[0].candidates)) < set(map(repr, whole.candidates))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"ram_bytes": 0}, "ram_bytes must be at least 1"),
        ({"ram_bytes": 1, "pools": ("maxx",)}, "maxx"),
        ({"ram_bytes": 1, "placements": ("behind",)}, "unknown placement 'behind'"),
        ({"ram_bytes": 1, "pools": ()}, "at least one"),
    ],
)
def test_mistakes_are_one_line(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        search_plans(load_model("sapool:tiny", 10), 48, **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
