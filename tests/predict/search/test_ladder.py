from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import sapool
from sapool.base.budget import Budget
from sapool.base.records import ArenaRecord, PoolingPlan
from sapool.predict.search import closest, first_fitting_plan, replan, stride_ladder


@given(st.lists(st.sampled_from([1, 2, 4]), min_size=1, max_size=7))
def test_the_ladder_keeps_the_total_and_moves_it_forward(strides: list[int]) -> None:
    rungs = stride_ladder(strides)
    assert rungs[0] == tuple(strides)
    assert {math.prod(rung) for rung in rungs} == {math.prod(strides)}
    assert all(later > earlier for earlier, later in itertools.pairwise(rungs))
    assert all(stride <= 8 for rung in rungs for stride in rung)


def arena(total: int) -> ArenaRecord:
    return ArenaRecord(total, 0, total, 10, ("ADD",), "made up")


def test_the_first_rung_that_fits_is_chosen_and_later_ones_are_not_measured() -> None:
    model = sapool.load_model("sapool:tiny", 10)
    sizes, seen = [300, 200, 100, 50], []

    def measure(net: nn.Module, plan: PoolingPlan) -> ArenaRecord:
        seen.append(plan.strides)
        return arena(sizes[len(seen) - 1])

    tried = first_fitting_plan(model, 64, "avg", budget=Budget(200), measure=measure)
    assert seen == [(2, 2, 2, 2), (4, 2, 2, 1)]
    assert [c.fits for c in tried] == [False, True]
    assert closest(tried, Budget(200)) is tried[1]
    seen.clear()
    tried = first_fitting_plan(model, 64, "avg", budget=Budget(10), measure=measure)
    assert len(seen) == 4
    assert closest(tried, Budget(10)).arena.total_bytes == 50


def test_a_plan_that_changes_nothing_gives_the_network_itself() -> None:
    model = sapool.load_model("sapool:tiny", 10)
    assert replan(model, sapool.make_plan(model, 64, "strided")) is model
    assert replan(model, sapool.make_plan(model, 64, "strided", [4, 2, 2, 1])) is not model


def test_rungs_that_leave_no_map_are_skipped() -> None:
    """At 24 px the last convolution rounds 1 x 1 up where a pool would round it down to nothing."""
    model = sapool.load_model("timm:mobilenetv2_035", 10)
    tried = first_fitting_plan(model, 24, "avg", budget=Budget(1), measure=lambda *_: arena(5))
    assert tried
    assert all(c.plan.strides != (2, 2, 2, 2, 2) for c in tried)
    with pytest.raises(ValueError, match="shrink the map to nothing"):
        sapool.make_plan(model, 24, "avg")


def test_flash_counts_too() -> None:
    over_flash = ArenaRecord(5, 0, 5, 90, ("ADD",), "made up")
    assert over_flash.budget_share(50, 45) == 2
    assert over_flash.budget_share(50) == 0.1
    assert not arena(5).fits(5, 9)
    with pytest.raises(ValueError, match="has no down-sampling"):
        first_fitting_plan(nn.Linear(3, 3), 3, "avg", budget=Budget(1, 1), measure=lambda *_: arena(1))
