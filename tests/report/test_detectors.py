from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sapool.base.budget import Budget
from sapool.base.records import PoolingPlan, SitePlan
from sapool.report.detectors import DetectorComparison, cells, markdown, row_of
from sapool.report.tables import show_estimate
from sapool.workflows.compare import DetectCompareConfig, estimate


def test_the_published_table_says_what_its_records_say() -> None:
    root = Path(__file__).parents[2]
    held = json.loads((root / "benchmarks" / "results" / "detection_pools.json").read_text())
    page = (root / "benchmarks" / "results" / "detection_pools.md").read_text()
    documented = (root / "docs" / "detection.md").read_text()
    assert {row["pool"] for row in held["rows"]} == set(DetectCompareConfig().pools)
    for row in held["rows"]:
        assert len(row["seeds"]) >= 3
        said = (
            row["pool"],
            ",".join(map(str, row["strides"])),
            len(row["seeds"]),
            show_estimate(estimate(row["ap50"])),
        )
        line = "| {} | {} | {} | {} ".format(*said)
        assert line in page
        assert line in documented


def test_the_arena_is_judged_and_results_of_before_it_had_a_name_of_its_own_are_read() -> None:
    plan = json.loads(PoolingPlan((3, 32, 32), (SitePlan("a", "avg", 1, 2),)).to_json())
    outcome: dict[str, Any] = {"ap": 0.5, "ap50": 0.6, "parameters": 7, "reason": None}
    for sizes in ({"total_bytes": 900, "arena_bytes": 1000}, {"total_bytes": 1000}):
        finished = {"plan avg": {"plan": plan, **sizes}, "run avg 0": outcome | sizes, "run avg 1": outcome}
        row = row_of("avg", finished, 2, Budget(1000))
        assert (row.arena_bytes, row.total_bytes, row.fits) == (1000, sizes["total_bytes"], True)
        assert not row_of("avg", finished, 2, Budget(999)).fits
        assert "1,000" in cells(row)
    old = {"recipe": {"detector": "small"}, "model": "m", "data": "d", "ram_bytes": 1 << 40}
    assert "m, d, no RAM budget for the backbone" in markdown(DetectorComparison(old, "", ()))
