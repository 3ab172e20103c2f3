from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from sapool.training import DivergedError, Hardware, TrainConfig, load_data, train
from sapool.training.module import TrainedModule
from tests.training.networks import CONFIG, small


def test_a_loss_that_is_no_number_stops_with_the_place(tmp_path: Path) -> None:
    model, data = small(), load_data("scattered-digits", 24, epochs=4)
    with torch.no_grad():
        model.get_parameter("layers.0.weight").fill_(float("nan"))
    with pytest.raises(DivergedError, match="the loss became nan in epoch 1, step 1: lower learning_rate"):
        train(model, data, CONFIG, tmp_path)


def test_a_step_is_random_by_its_seed_and_number_alone() -> None:
    drawn = []
    for seed in (0, 0, 1):
        module = TrainedModule(nn.Linear(1, 1), TrainConfig(seed=seed), 10)
        module.on_train_batch_start(None, 0)
        drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_the_state_holds_the_network_once() -> None:
    module = TrainedModule(nn.Linear(2, 3), TrainConfig(), 10, Hardware(compile=True))
    assert list(module.state_dict()) == ["model.weight", "model.bias"]
