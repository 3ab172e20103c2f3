from __future__ import annotations

from dataclasses import replace

import pytest

from sapool.base.records import ArenaRecord, ExportRecord, PoolingPlan, RunRecord, SitePlan, record_to_json

ARENA = ArenaRecord(100, 50, 150, 1000, ("ADD", "CONV_2D"), "tflite-micro 0, 64-bit")


def test_a_model_fits_when_total_and_file_do() -> None:
    assert ARENA.fits(150, 1000)
    assert ARENA.fits(150)
    assert not ARENA.fits(149, 1000)
    assert not ARENA.fits(150, 999)


def test_run_records_survive_json() -> None:
    plan = PoolingPlan((3, 8, 8), (SitePlan("a", "avg", 1, 2, kwargs={"x": 1}),))
    run = RunRecord(
        "avg", (2,), plan, True, 100, 50, 150, 1000, 7, ({"strides": [2]},), ARENA, {"seed": 0}, {"torch": "2"}
    )
    assert RunRecord.from_json(record_to_json(run)) == run
    done = replace(run, macs=3, export=ExportRecord("m", 1, 3, ("a",), 0.0, 40.0))
    assert RunRecord.from_json(record_to_json(done)) == done
    for text in ("", "[]", "{}"):
        with pytest.raises(ValueError, match="not a run's record"):
            RunRecord.from_json(text)
