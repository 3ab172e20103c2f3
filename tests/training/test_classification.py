from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sapool.training import DataSplits, DivergedError, TrainConfig, evaluate, load_data, train
from tests.training.broken import StopAfter, StopError, untimed


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
