from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sapool.base.records import ArenaRecord, PoolingPlan, RunRecord, SitePlan
from sapool.report.statistics import estimate
from sapool.workflows.compare.config import Variant
from sapool.workflows.compare.planning import Planned
from sapool.workflows.compare.result import Run, make_comparison
from tests.workflows.compare.stubs import arena, quick

PLAN = PoolingPlan((3, 32, 32), (SitePlan("stem", "max", 1, 4), SitePlan("body", "max", 2, 1)))


def record(accuracy: float, total: int = 30_000, **changes: Any) -> RunRecord:
    measured: ArenaRecord = arena(total)
    given: dict[str, Any] = {
        "pool": "max",
        "strides": PLAN.strides,
        "plan": PLAN,
        "fits": True,
        "head_bytes": measured.head_bytes,
        "tail_bytes": measured.tail_bytes,
        "total_bytes": measured.total_bytes,
        "flash_bytes": measured.flash_bytes,
        "parameters": 9,
        "tried": (),
        "arena": measured,
        "config": {},
        "environment": {},
        "macs": 7,
        "int8_test_accuracy": accuracy,
        "float_test_accuracy": accuracy + 0.01,
        "int8_val_accuracy": accuracy + 0.02,
        "latency_ms": accuracy * 10,
        "latency_device": "cpu",
    }
    return RunRecord(**(given | changes))


def compared(seeds: int, runs: dict[int, Run], planned: dict[str, Planned] | None = None, no_equal: str = "") -> Any:
    config = quick(seeds=seeds, pools=("max",), tables=("budget",))
    return make_comparison(config, Path("out"), {}, planned or {}, {("budget", "max"): runs}, ["a note"], no_equal)


def test_a_row_is_a_value_a_seed_and_the_largest_need() -> None:
    runs = {seed: Run(record(0.1 * seed, 30_000 + seed), f"seed{seed}", "") for seed in (1, 2, 3)}
    found = compared(3, runs)
    row = found.row("max")
    assert row.seeds == (1, 2, 3)
    assert row.int8_test == pytest.approx((0.1, 0.2, 0.3))
    assert row.float_test == pytest.approx((0.11, 0.21, 0.31))
    assert row.mean == estimate(row.int8_test)
    assert (row.arena_bytes, row.head_bytes, row.tail_bytes) == (30_003, 29_003, 1000)
    assert (row.strides, row.side, row.macs, row.parameters, row.fits) == ((4, 2), 32, 7, 9, True)
    assert row.latency_ms == pytest.approx(2.0)
    assert row.records == ("seed1", "seed2", "seed3")
    assert found.notes == ("a note",)


def test_what_diverged_and_what_does_not_fit_is_said() -> None:
    runs = {0: Run(record(0.5, 70_000, fits=False), "seed0", ""), 1: Run(None, "seed1", "seed 1: the loss became nan")}
    row = compared(2, runs).row("max")
    assert row.seeds == (0,)
    assert not row.fits
    assert row.reasons == ("seed 1: the loss became nan", "seed 0: does not fit, arena 70,000 bytes")


def test_a_pooling_without_a_run_says_why() -> None:
    reason = Planned(Variant("max", "max"), (), (), (), "no plan is under the budget")
    assert compared(1, {}, {"max": reason}).row("max").reasons == ("no plan is under the budget",)
    assert compared(1, {}, no_equal="no common plan").row("max").reasons == ("no common plan",)
    assert compared(1, {}).row("max").reasons == ("not run yet",)
    failed = compared(1, {0: Run(None, "", "diverged")}).row("max")
    assert (failed.reasons, failed.mean, failed.arena_bytes) == (("diverged",), None, None)


@pytest.mark.parametrize(("seeds", "said"), [(1, "1 seed: not evidence"), (2, "2 seeds: not evidence"), (5, "")])
def test_few_seeds_are_called_few(seeds: int, said: str) -> None:
    notes = compared(seeds, {seed: Run(record(0.5), "", "") for seed in range(seeds)}).notes
    assert any(said in note for note in notes) if said else notes == ("a note",)
