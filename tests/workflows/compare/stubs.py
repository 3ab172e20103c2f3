"""A comparison whose exports and trainings are replaced: what is left is planning, sharing and counting."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from torch import nn

from sapool.base.records import ArenaRecord, Reporter, RunRecord
from sapool.predict.search import search_plans
from sapool.training import DataSplits, TrainConfig
from sapool.workflows.compare import CompareConfig, comparison, planning
from sapool.workflows.running import Task, write_record
from tests import shared

# What a pooling would reach, by its name; seeds move it by fractions of a percent.
REACHED = {"avg": 0.70, "max": 0.60, "strided": 0.50, "self_attentive": 0.75}


def quick(**changes: Any) -> CompareConfig:
    given: dict[str, Any] = {
        "input_size": 32,
        "ram_bytes": 40 * 1024,
        "pools": ("max", "strided"),
        "recipe": TrainConfig(epochs=1, batch_size=250),
        "seeds": 2,
        **changes,
    }
    return CompareConfig(**given)


def arena(total: int) -> ArenaRecord:
    return ArenaRecord(total - 1000, 1000, total, 5000, ("CONV_2D",), "none")


def measured(model: nn.Module, data: DataSplits) -> ArenaRecord:
    return arena(30_000)


def reached(task: Task) -> float:
    return REACHED[task.pool] + 0.01 * (task.recipe.seed % 3) + 0.001 * len(task.plan.strides)


def run_stub(task: Task, model: nn.Module, data: DataSplits, folder: Path, reporter: Reporter) -> RunRecord:
    """Count the run in a file beside the results, then pretend."""
    runs = folder.parents[2] / "done.txt"
    runs.parent.mkdir(parents=True, exist_ok=True)
    with runs.open("a") as file:
        file.write(f"{os.getpid()} {folder.parent.name}/{folder.name}\n")
    time.sleep(float(os.environ.get("STUB_SECONDS", "0")))
    value = reached(task)
    found = {"fits": True, "arena": arena(30_000), "int8_val_accuracy": value, "int8_test_accuracy": value - 0.1}
    return write_record(task, model, found | {"float_test_accuracy": value, "macs": 7, "latency_ms": 0.5}, folder)


def search_key(model: nn.Module, *arguments: Any, **kwargs: Any) -> str:
    """What decides a search: the network's layers, not their weights, and what is asked."""
    return f"{model!r} {arguments!r} {sorted(kwargs.items())!r}"


# Every test plans the same few networks; each search takes seconds.
search = shared.remembered(search_plans, search_key)


def install() -> None:
    vars(comparison).update(measure_untrained=measured, run_planned=run_stub)
    vars(planning).update(search_plans=search)


if __name__ == "__main__":
    install()
    found = comparison.compare(quick(), sys.argv[1], storage=sys.argv[2], heartbeat_seconds=int(sys.argv[3]))
    sys.stdout.write(found.to_json())
