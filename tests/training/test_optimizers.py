from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

import sapool
from sapool.training import TrainConfig
from sapool.training.optimizers import build_optimizer, build_schedule


def rates(steps: int, **kwargs: Any) -> list[float]:
    config = TrainConfig(learning_rate=1.0, epochs=10, **kwargs)
    optimizer = build_optimizer(nn.Linear(2, 2), config)
    schedule = build_schedule(optimizer, config, steps)
    found = []
    for _ in range(steps):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return found


def test_step_falls_at_its_milestones() -> None:
    expected = [1.0] * 12 + [0.2] * 6 + [0.04] * 2
    assert rates(20, schedule="step", milestones=(0.6, 0.9), step_factor=0.2) == pytest.approx(expected)


def test_cosine_rises_and_falls() -> None:
    found = rates(20, schedule="cosine", warmup_epochs=2)
    assert found[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert found[4:] == pytest.approx([(1 + math.cos(math.pi * i / 16)) / 2 for i in range(16)])


def test_constant_stays() -> None:
    assert rates(5, schedule="constant") == [1.0] * 5


def test_one_cycle_peaks_after_a_fifth() -> None:
    found = rates(50)
    assert max(found) == pytest.approx(1.0)
    assert found.index(max(found)) == 9
    assert found[-1] < 1e-4


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6])
def test_one_cycle_takes_any_number_of_steps(steps: int) -> None:
    assert max(rates(steps)) > 0.5


def test_sgd_has_its_momentum_under_every_schedule() -> None:
    config = TrainConfig(optimizer="sgd", momentum=0.7, nesterov=True)
    optimizer = build_optimizer(nn.Linear(2, 2), config)
    build_schedule(optimizer, config, 10)
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["momentum"] == 0.7
    assert optimizer.param_groups[0]["nesterov"]


def test_decay_is_on_weight_matrices_only() -> None:
    model = sapool.load_model("sapool:tiny", 10)
    model = sapool.apply_plan(model, sapool.make_plan(model, 64)).model
    decayed, others = build_optimizer(model, TrainConfig()).param_groups
    assert decayed["weight_decay"] == 0.01
    assert others["weight_decay"] == 0
    assert min(p.dim() for p in decayed["params"]) == 2
    names = {id(p): name for name, p in model.named_parameters()}
    assert all("position" in names[id(p)] or p.dim() == 1 for p in others["params"])
    assert len(decayed["params"]) + len(others["params"]) == len(names)
    (everything,) = build_optimizer(model, TrainConfig(decay_norms=True)).param_groups
    assert len(everything["params"]) == len(names)
    assert everything["weight_decay"] == 0.01
