from __future__ import annotations

import csv
from pathlib import Path

import pytest

from sapool.training import Hardware, TrainConfig, train
from tests.training.broken import StopAfter, StopError
from tests.training.tiny import EVERYTHING, blobs, network


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "logs" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_restart_neither_doubles_nor_loses_rows(tmp_path: Path) -> None:
    train(network(), blobs(), EVERYTHING, tmp_path / "unbroken")
    expected = rows(tmp_path / "unbroken")
    assert [row["epoch"] for row in expected] == ["1", "2", "3", "4"]
    assert [row["step"] for row in expected] == ["6", "12", "18", "24"]
    for steps in (9, 7, 6, 2):  # inside an epoch, behind its last step, inside the next
        with pytest.raises(StopError):
            train(network(), blobs(), EVERYTHING, tmp_path / "broken", reporter=StopAfter(steps))
    train(network(), blobs(), EVERYTHING, tmp_path / "broken")
    assert rows(tmp_path / "broken") == expected
    (tmp_path / "broken" / "logs" / "metrics.csv").unlink()
    train(network(), blobs(), EVERYTHING, tmp_path / "broken")  # finished: nothing but the log is written
    assert rows(tmp_path / "broken") == expected


def test_the_loss_falls_in_the_log(tmp_path: Path) -> None:
    train(network(), blobs(6), TrainConfig(epochs=6, batch_size=10, learning_rate=0.05), tmp_path)
    losses = [float(row["train_loss"]) for row in rows(tmp_path)]
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_tensorboard_reads_every_epoch_once(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    hardware = Hardware(tensorboard=True)
    with pytest.raises(StopError):
        train(network(), blobs(), EVERYTHING, tmp_path, reporter=StopAfter(15), hardware=hardware)
    train(network(), blobs(), EVERYTHING, tmp_path, hardware=hardware)
    events = EventAccumulator(str(tmp_path / "logs"))
    events.Reload()
    assert [event.step for event in events.Scalars("val_accuracy")] == [6, 12, 18, 24]
