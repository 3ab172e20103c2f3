"""CPU time of finding sites and of predicting one plan, on one thread.

    python benchmarks/plan_search.py

"first" is a plan with pools that no earlier plan had, "again" the same plan with its pools known: what most plans of a
search are.
"""

from __future__ import annotations

import json
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path

import torch

import sapool
from sapool.memory import buffers_of, flash_bytes_of, greedy_offsets, head_of, tail_bytes
from sapool.predict.search import search_plans
from sapool.predict.search.predictor import Predictor

RESULTS = Path(__file__).parent / "results" / "plan_search.json"
NETWORKS = [("sapool:tiny", 64), ("timm:mobilenetv2_100", 224), ("timm:resnet50", 224), ("timm:densenet121", 224)]


def predict(predictor: Predictor, pool: str, strides: list[int]) -> float:
    started = time.process_time()
    graph = predictor.graph(predictor.plan(pool, strides, "block", {}))
    buffers = buffers_of(graph)
    head_of(buffers, greedy_offsets(buffers))
    tail_bytes(graph)
    flash_bytes_of(graph)
    return 1000 * (time.process_time() - started)


def row(name: str, size: int) -> dict[str, object]:
    net = sapool.load_model(name, 10)
    started = time.process_time()
    sites = sapool.find_downsampling(net, size)
    sapool.make_plan(net, size)
    found = time.process_time() - started
    predictor = Predictor(net, size)
    strides = [2 * predictor.sites[0].reduction, *(site.reduction for site in predictor.sites[1:])]
    result: dict[str, object] = {"sites": len(sites), "find_and_plan_cpu_seconds": round(found, 2)}
    for pool in ("strided", "avg", "self_attentive"):
        first = predict(predictor, pool, strides)
        again = statistics.median(predict(predictor, pool, strides) for _ in range(5))
        result[f"{pool}_cpu_ms"] = {"first": round(first, 1), "again": round(again, 1)}
    return result


def main() -> None:
    torch.set_num_threads(1)
    rows = {}
    for name, size in NETWORKS:
        rows[f"{name}, {size} px"] = row(name, size)
        print(name, rows[f"{name}, {size} px"], flush=True)
    net, started = sapool.load_model("timm:mobilenetv2_035", 10), time.process_time()
    found = search_plans(net, 96, ram_bytes=160 * 1024)
    seconds = time.process_time() - started
    rows["whole search, timm:mobilenetv2_035, 96 px"] = {
        "plans": found.predicted,
        "cpu_ms_a_plan": round(1000 * seconds / found.predicted, 1),
    }
    machine = {"machine": platform.machine(), "torch": version("torch"), "threads": 1}
    RESULTS.write_text(json.dumps(machine | {"networks": rows}, indent=1) + "\n")
    print(rows)


if __name__ == "__main__":
    main()
