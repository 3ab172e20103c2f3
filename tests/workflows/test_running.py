from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sapool.base.budget import Budget
from sapool.base.records import ArenaRecord, RunRecord
from sapool.export import measure_latency
from sapool.networks.tiny import TinyNet
from sapool.planning.plan import make_plan
from sapool.training import TrainConfig
from sapool.workflows import running
from sapool.workflows.running import (
    FolderConflictError,
    Task,
    claim_folder,
    claimed,
    finished_record,
    int8_accuracy,
    write_record,
)


def task() -> Task:
    plan = make_plan(TinyNet(10), 32, "avg")
    return Task("avg", plan, TrainConfig(epochs=1), Budget(10_000), {"seed": 0}, {"device": "cpu"}, "avg")


def record(folder: Path) -> RunRecord:
    arena = ArenaRecord(1000, 500, 1500, 2000, ("CONV_2D",), "none")
    return write_record(task(), TinyNet(10), {"fits": True, "arena": arena, "latency_ms": 1.5}, folder)


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = record(tmp_path)
    assert finished_record(tmp_path) == written
    assert written.latency_ms == 1.5
    assert finished_record(tmp_path / "other") is None
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(ValueError, match=r"record\.json is damaged"):
        finished_record(tmp_path)


def test_another_configuration_is_refused(tmp_path: Path) -> None:
    claim_folder(tmp_path / "out", {"a": 1, "b": (2, 3)}, "sapool test")
    claim_folder(tmp_path / "out", {"a": 1, "b": (2, 3)}, "sapool test")
    with pytest.raises(FolderConflictError, match=r"another configuration \(a is 1 there, 2 here\)"):
        claim_folder(tmp_path / "out", {"a": 2, "b": (2, 3)}, "sapool test")
    with pytest.raises(FolderConflictError, match="is no folder of sapool test"):
        claim_folder(Path(__file__).parent, {"a": 1}, "sapool test")


def test_a_folder_from_when_no_budget_was_a_very_large_one_is_still_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"seed": 0, "ram_bytes": 1 << 40}))
    claim_folder(folder, {"seed": 0, "ram_bytes": None}, "sapool test")
    with pytest.raises(FolderConflictError, match="ram_bytes is None there, 7 here"):
        claim_folder(folder, {"seed": 0, "ram_bytes": 7}, "sapool test")


class Numbered(Dataset[tuple[Tensor, int]]):
    """Image i holds i; its class is i % 3."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((3, 1, 1), float(index)), index % 3


def test_two_at_once_in_one_folder_are_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with claimed(folder, {"a": 1}, "sapool test"):
        with (
            pytest.raises(FolderConflictError, match="out: another process is at work in it"),
            claimed(folder, {"a": 1}, "sapool test"),
        ):
            pass
        assert (folder / "config.json").is_file()
    with claimed(folder, {"a": 1}, "sapool test"):
        pass


def test_a_child_does_not_keep_its_dead_parents_folder_locked(tmp_path: Path) -> None:
    code = """
import os, sys, time
from pathlib import Path
from sapool.workflows.running import claimed
with claimed(Path(sys.argv[1]), {"a": 1}, "sapool test"):
    if not os.fork():
        time.sleep(60)
    print("forked", flush=True)
    time.sleep(60)
"""
    run = [sys.executable, "-c", code, str(tmp_path / "out")]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True, start_new_session=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "forked\n"
        running.kill()
        running.wait()
        with claimed(tmp_path / "out", {"a": 1}, "sapool test"):
            os.killpg(running.pid, signal.SIGKILL)


@pytest.mark.parametrize(("most", "asked"), [(None, list(range(10))), (4, [0, 2, 5, 7]), (99, list(range(10)))])
def test_int8_accuracy_counts_evenly_spaced_images(
    most: int | None, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def always_class_one(path: Path, images: Tensor) -> Any:
        seen.extend(images[:, 0, 0, 0].int().tolist())
        return np.tile([0.0, 1.0, 0.5], (len(images), 1))

    monkeypatch.setattr(running, "run_images", always_class_one)
    monkeypatch.setattr(running, "_IMAGES_AT_ONCE", 3)
    found = int8_accuracy(Path("model.tflite"), Numbered(), most)
    assert seen == asked
    assert found == pytest.approx(sum(i % 3 == 1 for i in asked) / len(asked))


def test_latency_is_a_time(exported: Path) -> None:
    assert 0 < measure_latency(exported) < 1000
    assert running.describe_processor()
