from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sapool.training import DataSplits, evaluate, load_data, train
from tests.training.broken import StopAfter, StopError, untimed
from tests.training.networks import CONFIG, small


@pytest.fixture(scope="module")
def data() -> DataSplits:
    return load_data("scattered-digits", 24, epochs=4)


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
