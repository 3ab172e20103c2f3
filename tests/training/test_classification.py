from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import sapool
from sapool.training import (
    DataSplits,
    DivergedError,
    TrainConfig,
    evaluate,
    load_data,
    load_weights,
    save_weights,
    train,
)


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


def test_it_learns_and_keeps_the_best_epoch(data: DataSplits, tmp_path: Path) -> None:
    model = small()
    record = train(model, data, CONFIG, tmp_path)
    assert record.test_accuracy > 0.6  # ten classes, digits filling the canvas
    assert not model.training
    assert evaluate(model, data.val) == pytest.approx(record.val_accuracy)
    assert evaluate(model, data.test) == record.test_accuracy
    assert 1 <= record.best_epoch <= 4
    assert record.train_seconds > 0


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
    assert replace(record, train_seconds=0) == replace(expected, train_seconds=0)
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert told.told == ["training 40", "done"]
    # Killed when training was over but nothing said so yet: there is nothing left to train.
    again = train(small(), data, CONFIG, tmp_path / "unbroken", reporter=StopAfter(1))
    assert replace(again, train_seconds=0) == replace(expected, train_seconds=0)


def test_a_loss_that_is_no_number_stops_with_the_place(data: DataSplits, tmp_path: Path) -> None:
    model = small()
    with torch.no_grad():
        model.get_parameter("layers.0.weight").fill_(float("nan"))
    with pytest.raises(DivergedError, match="the loss became nan in epoch 1, step 1: lower learning_rate"):
        train(model, data, CONFIG, tmp_path)


def test_weights_round_trip_without_pickle(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    model = small()
    save_weights(model, path)
    other = Small()
    load_weights(other, path)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    with pytest.raises(ValueError, match=r"weights\.safetensors: the weights of another network"):
        load_weights(sapool.load_model("sapool:tiny"), path)
    with pytest.raises(ValueError, match=r"x\.safetensors: no such file"):
        load_weights(other, tmp_path / "x.safetensors")
    (tmp_path / "bad.safetensors").write_text("hello")
    with pytest.raises(ValueError, match=r"bad\.safetensors: not a safetensors file"):
        load_weights(other, tmp_path / "bad.safetensors")


def test_decay_is_on_weight_matrices_only() -> None:
    from sapool.training.classification import Classifier

    model = sapool.load_model("sapool:tiny", 10)
    model = sapool.apply_plan(model, sapool.make_plan(model, 64)).model
    module = Classifier(copy.deepcopy(model), CONFIG, 10)
    decayed, others = module.configure_optimizers()["optimizer"].param_groups
    assert decayed["weight_decay"] == 0.01
    assert others["weight_decay"] == 0
    assert min(p.dim() for p in decayed["params"]) == 2
    names = {id(p): name for name, p in module.model.named_parameters()}
    assert all("position" in names[id(p)] or p.dim() == 1 for p in others["params"])
    assert len(decayed["params"]) + len(others["params"]) == len(names)
