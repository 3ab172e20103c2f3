"""Peak memory and time of one training step of Faster R-CNN on ResNet-18 at 800 x 1333, batch 1, by pooling.

Every measurement is a process of its own (peak memory is the process's, libraries included); the variants take turns.
The time is the processor's, in one thread, so that what else runs on the machine counts little. Pools stand where
``plan_backbone`` puts them: the stem's convolution stays strided, the other four sites are pooled.

    python benchmarks/detector_memory.py --repeats 3 --out benchmarks/results/detector_memory.json
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SHORT, LONG = 800, 1333
STRIDES = {"1222": (2, 2, 2, 2, 2), "2222": (2, 4, 2, 2, 2)}
LIMIT_BYTES, LIMIT_RATIO = 8 * 10**9, 1.5


def measure(pool: str, strides: str, placement: str) -> dict[str, Any]:
    """Run one forward and backward pass in this process."""
    import torch

    from sapool.detection import make_detector, plan_backbone
    from sapool.networks.load import load_model

    torch.set_num_threads(1)
    torch.manual_seed(0)
    backbone = load_model("timm:resnet18")
    plan = plan_backbone(backbone, (3, SHORT, LONG), pool, STRIDES[strides], placement)
    detector: Any = make_detector("fasterrcnn", backbone, 8, image_size=(SHORT, LONG), plan=plan)
    image = torch.rand(3, SHORT, LONG)
    corners = torch.tensor([[100.0, 100, 400, 300], [600, 200, 700, 500], [900, 500, 950, 560]])
    target = {"boxes": corners, "labels": torch.tensor([1, 2, 3])}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    start, wall = time.process_time(), time.perf_counter()
    losses = detector([image], [target])
    sum(losses.values()).backward()
    return {
        "pool": pool,
        "strides": strides,
        "placement": placement,
        "cpu_seconds": time.process_time() - start,
        "wall_seconds": time.perf_counter() - wall,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "rss_before_bytes": before,
        "level_strides": list(detector.backbone.strides),
        "finite": all(bool(torch.isfinite(loss)) for loss in losses.values()),
    }


def run(pool: str, strides: str, placement: str) -> dict[str, Any]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--one", pool, strides, placement]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{pool} {strides} {placement} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give each variant's median, and its ratio to the strided network of the same strides."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["strides"], row["pool"], row["placement"]), []).append(row)
    seconds = {key: statistics.median(row["cpu_seconds"] for row in group) for key, group in groups.items()}
    plain = {key[0]: value for key, value in seconds.items() if key[1] == "strided"}
    return [
        {
            "strides": key[0],
            "pool": key[1],
            "placement": key[2],
            "runs": len(group),
            "median_cpu_seconds": seconds[key],
            "time_ratio": seconds[key] / plain[key[0]],
            "peak_rss_bytes": max(row["peak_rss_bytes"] for row in group),
        }
        for key, group in groups.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=3)
    parser.add_argument("--strides", default="1222")
    parser.add_argument("--pools", default="strided,self_attentive")
    parser.add_argument("--placements", default="group-start", help="of every pool but strided")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(*given.one)))
        return
    from sapool.base.environment import describe_environment
    from sapool.base.files import write_text_atomically

    variants = [
        (pool, strides, placement)
        for strides in given.strides.split(",")
        for pool in given.pools.split(",")
        for placement in (("group-start",) if pool == "strided" else given.placements.split(","))
    ]
    rows = []
    for _ in range(given.repeats):
        for variant in variants:
            rows.append(run(*variant))
            print(json.dumps(rows[-1]), flush=True)
            result = {"size": [SHORT, LONG], "batch": 1, "detector": "fasterrcnn", "backbone": "timm:resnet18"}
            whole = result | {"environment": describe_environment(), "summary": [], "rows": rows}
            if any(row["pool"] == "strided" for row in rows):
                whole["summary"] = summarise(rows)
            if given.out:
                write_text_atomically(given.out, json.dumps(whole, indent=2))
    for line in summarise(rows):
        good = line["peak_rss_bytes"] < LIMIT_BYTES and line["time_ratio"] < LIMIT_RATIO
        print(line, "within the limits" if good else "OVER THE LIMITS")


if __name__ == "__main__":
    main()
