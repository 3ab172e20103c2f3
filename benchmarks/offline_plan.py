"""Our plan of the arena against TensorFlow Lite Micro's greedy one: heads in bytes, and whether outputs stay.

    python benchmarks/offline_plan.py [FOLDER]

On the models of ``arena_prediction.py``; FOLDER keeps the .tflite files (the same ones). Plans that a file has already
are taken out first. "measured" is the real interpreter's head for the file with our plan in it; outputs are compared to
the bit on random int8 images. On a Cortex-M4 CMSIS-NN's kernels ask for scratch that the plan doesn't know and the
runtime puts around it: predicted heads, not measured. Models that the results file has already are left out.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from arena_prediction import PACKAGES, Model, models

from sapool.export import export_int8, randomize_norms
from sapool.export.runtime.inputs import random_inputs
from sapool.export.runtime.interpreters import run_model
from sapool.memory import buffers_of, greedy_offsets, head_of, lower_bound
from sapool.memory.arena_plan import plan_arena
from sapool.memory.verdict import profile_for_target
from sapool.passes.file.offline_plan import plan_offline
from sapool.tflite import Graph, read_graph, write_graph

RESULTS = Path(__file__).parent / "results" / "offline_plan.json"
RUNS = 4


def export(model: Model, path: Path) -> None:
    _, passes, size, build = model
    torch.manual_seed(0)
    net = randomize_norms(build()).eval()
    images = torch.rand(8, 3, size, size, generator=torch.Generator().manual_seed(1))
    export_int8(net, [images], path, passes=passes)


def on_cortex_m4(graph: Graph) -> int:
    return profile_for_target(graph, "cortex-m4").head_bytes


def compare(data: bytes) -> dict[str, object]:
    bare = read_graph(data)
    bare.set_offline(None)
    planned = bare.copy()
    buffers = buffers_of(bare)
    started = time.perf_counter()
    alone = head_of(buffers, plan_arena(bare, sharing=False))
    middle = time.perf_counter()
    shared = head_of(buffers, plan_arena(bare))
    ended = time.perf_counter()
    plan_offline(planned)
    inputs = random_inputs(write_graph(bare), RUNS)
    before, after = (run_model("model", write_graph(one), inputs) for one in (bare, planned))
    return {
        "buffers": len(buffers),
        "lower_bound_bytes": lower_bound(buffers),
        "greedy_bytes": head_of(buffers, greedy_offsets(buffers)),
        "greedy_measured_bytes": before.head_bytes,
        "plan_without_sharing_bytes": alone,
        "plan_bytes": shared,
        "plan_measured_bytes": after.head_bytes,
        "tail_bytes": {"greedy": before.tail_bytes, "plan": after.tail_bytes},
        "outputs_equal": after.same_outputs(before),
        "cortex_m4_bytes": {name: on_cortex_m4(one) for name, one in (("greedy", bare), ("plan", planned))},
        "seconds": {"without_sharing": round(middle - started, 3), "with": round(ended - middle, 3)},
    }


def summary(rows: dict[str, dict[str, Any]]) -> dict[str, object]:
    done = [row for row in rows.values() if "refused" not in row]

    def spread(above: str, below: str) -> dict[str, float]:
        ratios = [row[above] / row[below] for row in done]
        return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}

    return {
        "models": len(done),
        "refused": len(rows) - len(done),
        "greedy_over_lower_bound": spread("greedy_bytes", "lower_bound_bytes"),
        "plan_without_sharing_over_lower_bound": spread("plan_without_sharing_bytes", "lower_bound_bytes"),
        "plan_over_greedy": spread("plan_bytes", "greedy_bytes"),
        "plans_below_greedy": sum(row["plan_bytes"] < row["greedy_bytes"] for row in done),
        "plans_above_greedy": sum(row["plan_bytes"] > row["greedy_bytes"] for row in done),
        "measured_as_planned": sum(row["plan_measured_bytes"] == row["plan_bytes"] for row in done),
        "plans_above_greedy_on_cortex_m4": sum(
            r["cortex_m4_bytes"]["plan"] > r["cortex_m4_bytes"]["greedy"] for r in done
        ),
        "outputs_equal": sum(row["outputs_equal"] for row in done),
    }


def main() -> None:
    warnings.simplefilter("ignore")
    rows = json.loads(RESULTS.read_text())["models"] if RESULTS.exists() else {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for model in models():
            label = f"{model[0]}, {model[2]} px, passes {model[1]}"
            if label in rows:
                continue
            path = folder / (re.sub(r"[^0-9a-zA-Z.]+", "_", label) + ".tflite")
            try:
                if not path.exists():
                    export(model, path)
                rows[label] = compare(path.read_bytes())
            except (ValueError, RuntimeError) as refusal:
                rows[label] = {"refused": str(refusal).splitlines()[0][:300]}
            record = {"versions": {p: version(p) for p in PACKAGES}, "summary": summary(rows), "models": rows}
            RESULTS.write_text(json.dumps(record, indent=1) + "\n")
            print(label, rows[label], flush=True)


if __name__ == "__main__":
    main()
