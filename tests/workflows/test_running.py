from __future__ import annotations

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
    Task,
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


class Numbered(Dataset[tuple[Tensor, int]]):
    """Image i holds i; its class is i % 3."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((3, 1, 1), float(index)), index % 3


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
