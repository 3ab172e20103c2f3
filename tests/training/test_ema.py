from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sapool.training import TrainConfig, train
from sapool.training.checkpoints import read_checkpoint
from sapool.training.ema import _average
from tests.training.tiny import blobs, network


def test_the_average_starts_short_and_counts_are_copied() -> None:
    update = _average(0.9)
    averaged, expected = torch.tensor([1.0]), 1.0
    for step in range(100):
        current = float(step)
        update([averaged], [torch.tensor([current])], step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * current
        assert float(averaged) == pytest.approx(expected, rel=1e-4)
    counts = torch.tensor([3])
    update([counts], [torch.tensor([8])], 5)
    assert counts.item() == 8


def test_the_best_checkpoint_holds_the_average_and_the_last_one_both(tmp_path: Path) -> None:
    config = TrainConfig(epochs=3, batch_size=10, ema_decay=0.99)
    model = network()
    record = train(model, blobs(), config, tmp_path)
    last = read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    averaged, current = (last[key]["model.conv.weight"] for key in ("state_dict", "current_model_state"))
    assert not torch.equal(averaged, current)
    best = read_checkpoint(tmp_path / "checkpoints" / "best.ckpt")
    assert torch.equal(best["state_dict"]["model.conv.weight"], model.state_dict()["conv.weight"])
    assert 1 <= record.best_epoch <= 3
