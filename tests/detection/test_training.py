from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sapool.detection import DetectorRecord, evaluate_results, make_detector, train_detector
from sapool.networks.tiny import TinyNet
from sapool.training import DivergedError, Hardware
from tests.detection.tiny import QUICK, SIDE, coco_folder, detector, splits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coco_folder(tmp_path_factory.mktemp("coco"))


class StopError(Exception):
    pass


class StopAfter:
    """A reporter that breaks the run off after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def stage(self, text: str) -> None: ...
    def start(self, name: str, total: int) -> None: ...
    def finish(self) -> None: ...

    def advance(self, text: str = "") -> None:
        self.left -= 1
        if self.left == 0:
            raise StopError


def untimed(record: DetectorRecord) -> dict[str, Any]:
    return {k: v for k, v in asdict(record).items() if k not in ("train_seconds", "images_per_second")}


def test_training_lowers_the_loss_and_logs_it(folder: Path, tmp_path: Path) -> None:
    config = replace(QUICK, epochs=8)
    model = detector()
    record, found = train_detector(model, splits(folder, config), config, tmp_path)
    rows = list(csv.DictReader((tmp_path / "logs" / "metrics.csv").read_text().splitlines()))
    assert len(rows) == 8 == record.stopped_epoch
    assert float(rows[-1]["train_loss"]) < 0.8 * float(rows[0]["train_loss"])
    assert record.val_ap == max(float(row["val_ap"]) for row in rows)
    assert record.test == evaluate_results(splits(folder).truth("test"), found)
    assert not model.training


def test_a_broken_run_ends_as_an_unbroken_one(folder: Path, tmp_path: Path) -> None:
    config = replace(QUICK, augment=("photometric", "flip"))
    whole, parts = detector("self_attentive"), detector("self_attentive")
    expected, found = train_detector(whole, splits(folder, config), config, tmp_path / "whole")
    with pytest.raises(StopError):
        train_detector(
            detector("self_attentive"), splits(folder, config), config, tmp_path / "parts", reporter=StopAfter(3)
        )
    record, again = train_detector(parts, splits(folder, config), config, tmp_path / "parts")
    assert untimed(record) == untimed(expected)
    assert again == found
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name


def test_a_loss_that_is_no_number_stops_with_the_place(folder: Path, tmp_path: Path) -> None:
    model = detector()
    next(p for name, p in model.named_parameters() if name.endswith("stem.0.weight")).data.fill_(float("nan"))
    with pytest.raises(DivergedError, match=r"the loss became nan in epoch 1, step 1: .* the output of .*stem\.0"):
        train_detector(model, splits(folder), QUICK, tmp_path)


def test_compiling_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="compile is for classifiers"):
        train_detector(detector(), splits(folder), QUICK, tmp_path, hardware=Hardware(compile=True))


def test_mixed_precision_trains(folder: Path, tmp_path: Path) -> None:
    hardware = Hardware(precision="bf16-mixed", accelerator="cpu")
    train_detector(detector("self_attentive"), splits(folder), QUICK, tmp_path, hardware=hardware)
    rows = list(csv.DictReader((tmp_path / "logs" / "metrics.csv").read_text().splitlines()))
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])


@pytest.mark.parametrize("kind", ["fasterrcnn", "retinanet"])
@pytest.mark.slow
def test_pyramids_train_too(kind: str, folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = make_detector(kind, TinyNet(10, width=0.25), 10, image_size=SIDE, fpn_channels=8)
    config = replace(QUICK, detector=kind, epochs=4, learning_rate=0.003)
    train_detector(model, splits(folder, config), config, tmp_path)
    rows = list(csv.DictReader((tmp_path / "logs" / "metrics.csv").read_text().splitlines()))
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])


@pytest.mark.slow
def test_two_processes_find_what_one_finds(folder: Path, tmp_path: Path) -> None:
    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--module")
    said = []
    for name, launcher in (("one", ()), ("two", torchrun)):
        command = [sys.executable, "-m", *launcher, "tests.detection.tiny", str(folder), str(tmp_path / name)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        root = Path(__file__).parents[2]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=root, env=environment, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]
        said.append(json.loads((tmp_path / name / "outcome.json").read_text()))
    one, two = said
    assert len(one["found"]) == len(two["found"]) > 0
    for ours, theirs in zip(one["found"], two["found"], strict=True):
        assert (theirs["image_id"], theirs["category_id"]) == (ours["image_id"], ours["category_id"])
        assert theirs["bbox"] == pytest.approx(ours["bbox"], abs=1e-3)
    assert two["ap"] == pytest.approx(one["ap"], abs=1e-6)
    alone, shared = (list(csv.DictReader(outcome["log"].splitlines())) for outcome in said)
    for name in ("val_ap", "val_ap50"):
        assert [float(row[name]) for row in shared] == pytest.approx([float(row[name]) for row in alone], abs=1e-6)
