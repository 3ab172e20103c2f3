from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sapool.base.records import SilentReporter, TrainRecord
from sapool.training import CheckpointError, TrainConfig, train
from sapool.training.checkpoints import AtomicCheckpoints, read_checkpoint, score_of
from tests.training.tiny import EVERYTHING, blobs, network

CONFIG = TrainConfig(epochs=3, batch_size=10)


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Path, TrainRecord]:
    return tmp_path, train(network(), blobs(), CONFIG, tmp_path)


def test_they_are_read_without_pickle_and_know_their_score(finished: tuple[Path, TrainRecord]) -> None:
    folder, record = finished
    best, last = (read_checkpoint(folder / "checkpoints" / f"{name}.ckpt") for name in ("best", "last"))
    assert score_of(best) == record.val_accuracy >= score_of(last)
    assert best["epoch"] + 1 == record.best_epoch
    assert last["epoch"] + 1 == record.stopped_epoch == 3


@pytest.mark.parametrize(
    ("channels", "norm", "said"),
    [
        (8, True, r"conv\.weight is \(4, 3, 3, 3\) there, \(8, 3, 3, 3\) here"),
        (4, False, r"norm\.weight is \(4,\) there, missing here"),
    ],
)
def test_another_network_is_refused(channels: int, norm: bool, said: str, finished: tuple[Path, TrainRecord]) -> None:
    folder, _ = finished
    with pytest.raises(
        CheckpointError, match=rf"last\.ckpt is a checkpoint of another network or plan \({said}"
    ) as told:
        train(network(channels=channels, norm=norm), blobs(), CONFIG, folder)
    assert "\n" not in str(told.value)


def test_another_recipe_is_refused(finished: tuple[Path, TrainRecord]) -> None:
    folder, _ = finished
    with pytest.raises(CheckpointError, match=r"last\.ckpt is of another recipe \(epochs is 3 there, 4 here\)"):
        train(network(), blobs(), replace(CONFIG, epochs=4), folder)


def test_other_data_is_refused(finished: tuple[Path, TrainRecord]) -> None:
    folder, _ = finished
    with pytest.raises(CheckpointError, match=r"last\.ckpt was trained on blobs \(.*\), not on others \(.*\); choose"):
        train(network(), replace(blobs(), name="others"), CONFIG, folder)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04half"])
def test_a_damaged_one_is_named(content: bytes, finished: tuple[Path, TrainRecord]) -> None:
    folder, _ = finished
    (folder / "checkpoints" / "last.ckpt").write_bytes(content)
    (folder / "checkpoints" / "before.ckpt").unlink()
    with pytest.raises(
        CheckpointError, match=r"last\.ckpt is damaged or no checkpoint .*: remove .*checkpoints"
    ) as told:
        train(network(), blobs(), CONFIG, folder)
    assert "\n" not in str(told.value)


class Listener(SilentReporter):
    """Remembers the stages."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def stage(self, text: str) -> None:
        self.said.append(text)


def test_a_truncated_last_one_is_named_and_training_goes_on_from_the_one_before(tmp_path: Path) -> None:
    expected = train(network(), blobs(), EVERYTHING, tmp_path)
    weights = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["state_dict"]
    last, before = tmp_path / "checkpoints" / "last.ckpt", tmp_path / "checkpoints" / "before.ckpt"
    assert read_checkpoint(before)["epoch"] + 1 == read_checkpoint(last)["epoch"] == EVERYTHING.epochs - 1
    last.write_bytes(last.read_bytes()[:-100])
    listener, model = Listener(), network()
    found = train(model, blobs(), EVERYTHING, tmp_path, reporter=listener)
    assert (found.val_accuracy, found.best_epoch) == (expected.val_accuracy, expected.best_epoch)
    (said,) = listener.said
    assert said.startswith(f"{last} is damaged or no checkpoint (")
    assert said.endswith(f"); training goes on from the one before it, behind epoch {EVERYTHING.epochs - 1}")
    again = read_checkpoint(last)["state_dict"]
    assert all(torch.equal(again[name], weight) for name, weight in weights.items())


def test_the_last_one_is_there_at_every_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last, real = tmp_path / "last.ckpt", Path.write_bytes
    writer = AtomicCheckpoints()
    writer.save_checkpoint({"state_dict": {}, "epoch": 0}, last)

    def look(path: Path, data: bytes) -> int:
        assert read_checkpoint(last)["epoch"] == 0
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", look)
    writer.save_checkpoint({"state_dict": {}, "epoch": 1}, last)
    assert [read_checkpoint(tmp_path / name)["epoch"] for name in ("before.ckpt", "last.ckpt")] == [0, 1]


def test_the_advice_about_a_damaged_best_one_helps(finished: tuple[Path, TrainRecord]) -> None:
    folder, expected = finished
    best = folder / "checkpoints" / "best.ckpt"
    best.write_bytes(b"junk")
    with pytest.raises(CheckpointError, match=r"best\.ckpt is damaged .*: remove .*checkpoints to start anew"):
        train(network(), blobs(), CONFIG, folder)
    best.unlink()
    with pytest.raises(CheckpointError, match=r"last\.ckpt is there, but not best\.ckpt: remove .*checkpoints to"):
        train(network(), blobs(), CONFIG, folder)
    shutil.rmtree(folder / "checkpoints")
    assert train(network(), blobs(), CONFIG, folder).val_accuracy == expected.val_accuracy


def test_nothing_that_runs_code_is_loaded(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "run": Path}, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match="damaged or no checkpoint"):
        read_checkpoint(tmp_path / "last.ckpt")


def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = train(network(), blobs(), EVERYTHING, tmp_path / "unbroken")
    real, calls = Path.write_bytes, []

    def full(path: Path, data: bytes) -> int:
        calls.append(path)
        if len(calls) == 4:  # last.ckpt of the second epoch, or the best of a later one
            real(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, data)

    folder = tmp_path / "full"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(
            OSError, match=r"\.ckpt: the disk is full; the last good checkpoint is kept: make room"
        ) as told:
            train(network(), blobs(), EVERYTHING, folder)
    assert "\n" not in str(told.value)
    assert not list(folder.rglob("*.tmp"))
    assert read_checkpoint(folder / "checkpoints" / "last.ckpt")["epoch"] >= 0
    record = train(network(), blobs(), EVERYTHING, folder)
    expected = replace(expected, train_seconds=record.train_seconds, images_per_second=record.images_per_second)
    assert record == expected


def test_another_failure_says_its_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="mend that and give the same command again"):
        AtomicCheckpoints().save_checkpoint({}, tmp_path / "file" / "last.ckpt")


def test_patience_stops_and_stays_stopped(tmp_path: Path) -> None:
    # Nothing is learnt at this rate: the first epoch stays the best.
    config = replace(EVERYTHING, epochs=9, learning_rate=1e-12, patience=2)
    first = train(network(norm=False), blobs(9), config, tmp_path)
    assert (first.best_epoch, first.stopped_epoch, first.epochs) == (1, 3, 9)
    again = train(network(norm=False), blobs(9), config, tmp_path)
    assert again == replace(first, train_seconds=again.train_seconds)
    # The last one is kept also when it is not the best: no epoch is trained twice.
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["epoch"] == 2
    assert len((tmp_path / "logs" / "metrics.csv").read_text().splitlines()) == 4


class _Stop(SilentReporter):
    """Ends a run as Ctrl-C does, in its third epoch."""

    def __init__(self) -> None:
        self.steps = 0

    def advance(self, text: str = "") -> None:
        self.steps += 1
        if self.steps == 2 * 6 + 1:  # 50 images, 8 a step
            raise KeyboardInterrupt


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree])
def test_a_moved_or_copied_folder_goes_on_with_its_best_epoch(move: Callable[..., object], tmp_path: Path) -> None:
    # Nothing is learnt at this rate: the first epoch, before the move, stays the best.
    config = replace(EVERYTHING, learning_rate=1e-12)
    whole = train(network(norm=False), blobs(), config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(network(norm=False), blobs(), config, tmp_path / "old", reporter=_Stop())
    move(tmp_path / "old", tmp_path / "new")
    moved = train(network(norm=False), blobs(), config, tmp_path / "new")
    assert replace(moved, train_seconds=whole.train_seconds, images_per_second=whole.images_per_second) == whole
    assert whole.best_epoch == read_checkpoint(tmp_path / "new" / "checkpoints" / "best.ckpt")["epoch"] + 1 == 1
