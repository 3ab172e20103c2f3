from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sapool.base.records import TrainRecord
from sapool.training import Hardware, TrainConfig, train
from tests.training.broken import StopAfter, StopError, untimed
from tests.training.tiny import EVERYTHING, blobs, network


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


def test_ctrl_c_can_be_gone_on_with(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    class CtrlC(StopAfter):
        def advance(self, text: str = "") -> None:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGINT)

    # A test run that was started in the background was told to ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
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
