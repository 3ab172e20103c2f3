from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sapool.base.records import TrainRecord
from sapool.training import DataSplits, DivergedError, Hardware, TrainConfig, evaluate, load_data, train
from tests.training.tiny import EVERYTHING, blobs, network


class StopError(Exception):
    """Stands for a kill."""


class StopAfter:
    """A reporter that ends the run after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.told: list[str] = []

    def stage(self, text: str) -> None:
        self.told.append(text)

    def start(self, name: str, total: int) -> None:
        self.told.append(f"{name} {total}")

    def advance(self, text: str = "") -> None:
        if text:
            self.left -= 1
        if self.left == 0:
            raise StopError

    def finish(self) -> None:
        self.told.append("done")


class Small(nn.Module):
    """Few enough steps to train in a second; with dropout, so that a restart has randomness to repeat."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16),
            nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.2), nn.Linear(256, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def small() -> nn.Module:
    torch.manual_seed(0)
    return Small()


@pytest.fixture(scope="module")
def data() -> DataSplits:
    return load_data("scattered-digits", 24, epochs=4)


CONFIG = TrainConfig(epochs=4, batch_size=100)


def untimed(record: TrainRecord) -> TrainRecord:
    return replace(record, train_seconds=0, images_per_second=0)


def test_it_learns_and_keeps_the_best_epoch(data: DataSplits, tmp_path: Path) -> None:
    model = small()
    record = train(model, data, CONFIG, tmp_path)
    assert record.test_accuracy > 0.6  # ten classes, digits filling the canvas
    assert not model.training
    assert evaluate(model, data.val) == pytest.approx(record.val_accuracy)
    assert evaluate(model, data.test) == record.test_accuracy
    assert 1 <= record.best_epoch <= 4
    assert record.train_seconds > 0
    assert record.images_per_second > 1000 * 4 / record.train_seconds
    assert (record.stopped_epoch, record.skipped) == (4, 0)


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_result(data: DataSplits, tmp_path: Path) -> None:
    unbroken = small()
    expected = train(unbroken, data, CONFIG, tmp_path / "unbroken")
    for steps in (15, 12):  # inside the second epoch, then inside the third
        with pytest.raises(StopError):
            train(small(), data, CONFIG, tmp_path / "broken", reporter=StopAfter(steps))
    resumed = small()
    told = StopAfter(-1)
    record = train(resumed, data, CONFIG, tmp_path / "broken", reporter=told)
    assert untimed(record) == untimed(expected)
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert told.told == ["training 40", "done"]
    # Killed when training was over but nothing said so yet: there is nothing left to train.
    again = train(small(), data, CONFIG, tmp_path / "unbroken", reporter=StopAfter(1))
    assert untimed(again) == untimed(expected)


def test_a_network_that_comes_in_eval_mode_is_trained_as_any_other(data: DataSplits, tmp_path: Path) -> None:
    one, other = small(), small().eval()
    assert untimed(train(one, data, CONFIG, tmp_path / "one")) == untimed(
        train(other, data, CONFIG, tmp_path / "other")
    )
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_a_loss_that_is_no_number_stops_with_the_place(data: DataSplits, tmp_path: Path) -> None:
    model = small()
    with torch.no_grad():
        model.get_parameter("layers.0.weight").fill_(float("nan"))
    with pytest.raises(DivergedError, match="the loss became nan in epoch 1, step 1: lower learning_rate"):
        train(model, data, CONFIG, tmp_path)


@pytest.mark.parametrize("steps", [2, 6, 7, 12, 20])
def test_everything_with_a_state_comes_back(steps: int, tmp_path: Path) -> None:
    unbroken = network(dropout=0.3)
    expected = train(unbroken, blobs(), EVERYTHING, tmp_path / "unbroken")
    with pytest.raises(StopError):
        train(network(dropout=0.3), blobs(), EVERYTHING, tmp_path / "broken", reporter=StopAfter(steps))
    resumed = network(dropout=0.3)
    assert untimed(train(resumed, blobs(), EVERYTHING, tmp_path / "broken")) == untimed(expected)
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def _script(module: str, *arguments: str, launcher: tuple[str, ...] = ()) -> str:
    command = [sys.executable, "-m", *launcher, module, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_sigkill_at_any_moment_changes_nothing(tmp_path: Path) -> None:
    found = json.loads(_script("tests.training.killed_run", str(tmp_path)))
    assert found["kills"] >= 4
    assert found["same weights"]
    assert found["broken log"] == found["unbroken log"]
    assert untimed(TrainRecord(**found["broken"])) == untimed(TrainRecord(**found["unbroken"]))


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(tmp_path: Path) -> None:
    torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--module")
    outcomes = []
    for name, launcher in (("one", ()), ("two", torchrun)):
        _script("tests.training.shared_run", str(tmp_path / name), launcher=launcher)
        outcomes.append(json.loads((tmp_path / name / "outcome.json").read_text()))
    one, two = (list(csv.DictReader(outcome["log"].splitlines())) for outcome in outcomes)
    assert len(one) == len(two) == 3
    for alone, shared in zip(one, two, strict=True):
        assert float(shared["train_loss"]) == pytest.approx(float(alone["train_loss"]), abs=1e-5)
        assert shared["val_accuracy"] == alone["val_accuracy"]
    assert untimed(TrainRecord(**outcomes[0]["record"])) == untimed(TrainRecord(**outcomes[1]["record"]))


def test_ctrl_c_can_be_gone_on_with(tmp_path: Path) -> None:
    class CtrlC(StopAfter):
        def advance(self, text: str = "") -> None:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGINT)

    expected = train(network(), blobs(), EVERYTHING, tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        train(network(), blobs(), EVERYTHING, tmp_path / "broken", reporter=CtrlC(9))
    assert untimed(train(network(), blobs(), EVERYTHING, tmp_path / "broken")) == untimed(expected)


@pytest.mark.parametrize("hardware", [Hardware(channels_last=False), Hardware(precision="bf16-mixed")])
def test_how_it_is_executed_changes_only_the_rounding(hardware: Hardware, tmp_path: Path) -> None:
    config = TrainConfig(epochs=8, batch_size=10, learning_rate=0.05)
    expected = train(network(), blobs(8), config, tmp_path / "plain")
    assert expected.test_accuracy > 0.8
    model = network()
    found = train(model, blobs(8), config, tmp_path / "other", hardware=hardware)
    assert found.test_accuracy == pytest.approx(expected.test_accuracy, abs=0.06)  # two of 37 images
    assert model.get_parameter("conv.weight").dtype == torch.float32
    assert model.get_parameter("conv.weight").is_contiguous()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can")
def test_half_precision_without_a_gpu_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="precision 16-mixed needs a GPU, and there is none here: choose 32 or bf16"):
        train(network(), blobs(), TrainConfig(epochs=1), tmp_path, hardware=Hardware(precision="16-mixed"))
