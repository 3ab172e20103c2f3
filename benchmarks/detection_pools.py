"""Poolings in a small detector's backbone, at equal measured RAM: ``python benchmarks/detection_pools.py``.

The same command again goes on where it was broken off, several at once share the runs; ``results/detection_pools.json``
and ``.md`` are written at the end. On two cores it takes some twenty minutes.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch

from sapool.base.environment import describe_environment
from sapool.base.reporter import LineReporter
from sapool.detection import read_detection_recipe
from sapool.report.detectors import markdown
from sapool.workflows.compare import DetectCompareConfig, compare_detectors

RESULTS = Path(__file__).parent / "results"
RUNS = Path("runs") / "detection-pools"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--ram", type=int, default=128 * 1024, help="budget for the backbone's arena, in bytes")
    parser.add_argument("--model", default="sapool:tiny_050")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    config = DetectCompareConfig(
        model=asked.model,
        recipe=read_detection_recipe("small", epochs=asked.epochs),
        ram_bytes=asked.ram,
        seeds=asked.seeds,
    )
    found = compare_detectors(config, RUNS, reporter=LineReporter())
    rows = [asdict(row) for row in found.rows]
    held = {"config": found.config, "environment": describe_environment(), "rows": rows}
    (RESULTS / "detection_pools.json").write_text(json.dumps(held, indent=1) + "\n")
    (RESULTS / "detection_pools.md").write_text(markdown(found))


if __name__ == "__main__":
    main()
