from __future__ import annotations

import itertools

import pytest

from sapool import load_model, profile_memory
from sapool.predict.search import PlanSearch, replan, search_plans


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


@pytest.mark.slow
def test_second_looks_find_plans_that_only_the_export_makes_fit() -> None:
    net = load_model("sapool:tiny_050", 10).eval()
    given = {"ram_bytes": 40 * 1024, "pools": ("avg",), "strides": [(2, 2, 2, 2), (4, 2, 2, 1)]}
    once = search_plans(net, 64, **given)  # type: ignore[arg-type]
    again = search_plans(net, 64, second_looks=1, **given)  # type: ignore[arg-type]
    assert [c.plan.strides for c in once.candidates if c.fits] == [(4, 2, 2, 1)]
    best = again.best
    assert best is not None
    assert best.plan.strides == (2, 2, 2, 2)
    exact = profile_memory(replan(net, best.plan), 64)
    assert (best.head_bytes, best.tail_bytes) == (exact.head_bytes, exact.tail_bytes)
    before = next(c for c in once.candidates if c.plan == best.plan)
    assert best.network_macs == before.network_macs


def test_a_plan_far_over_the_budget_is_not_looked_at_again() -> None:
    net = load_model("sapool:tiny", 10)
    given = {"ram_bytes": 8 * 1024, "pools": ("avg",), "strides": [(2, 2, 2, 2)]}
    once = search_plans(net, 64, **given)  # type: ignore[arg-type]
    assert search_plans(net, 64, second_looks=5, **given) == once  # type: ignore[arg-type]


def test_only_the_named_sites_hold_pools_and_given_strides_are_the_only_ones() -> None:
    net = load_model("sapool:tiny", 10)
    found = search_plans(
        net, 32, ram_bytes=64 * 1024, pools=("lip",), strides=[(2, 2, 2, 2)], pool_sites=("blocks.2",),
        pool_kwargs={"lip": {"gain": 4.0}},
    )  # fmt: skip
    (only,) = found.candidates
    assert {site.site: site.pool_stride for site in only.plan.sites} == {
        "stem.0": 1, "blocks.0": 1, "blocks.2": 2, "blocks.4": 1,
    }  # fmt: skip
    assert next(site.kwargs for site in only.plan.sites if site.site == "blocks.2") == {"gain": 4.0}
    with pytest.raises(ValueError, match=r"no site 'blocks.3': did you mean blocks"):
        search_plans(net, 32, ram_bytes=64 * 1024, pools=("lip",), pool_sites=("blocks.3",))
