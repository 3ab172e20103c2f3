from __future__ import annotations

import json
from pathlib import Path

from sapool.workflows.compare import DetectCompareConfig, estimate
from sapool.workflows.compare.tables import show_estimate


def test_the_published_table_says_what_its_records_say() -> None:
    root = Path(__file__).parents[3]
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
