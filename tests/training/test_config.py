from __future__ import annotations

from typing import Any

import pytest

from sapool.training import Hardware, TrainConfig, processes


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"label_smoothing": 1.0}, "label_smoothing must be in"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0, got -1.0"),
        ({"seed": -1}, "seed must be 0 to"),
        ({"optimizer": "sdg"}, r"unknown optimizer 'sdg': did you mean sgd\?"),
        ({"schedule": "cosin"}, r"unknown schedule 'cosin': did you mean cosine\?"),
        ({"warmup_epochs": 3.0}, "warmup_epochs must be 0 with one_cycle"),
        ({"schedule": "cosine", "epochs": 3, "warmup_epochs": 3.0}, r"warmup_epochs must be under epochs \(3\)"),
        ({"schedule": "step"}, "milestones belong to the schedule 'step'"),
        ({"milestones": (0.5,)}, "milestones belong to the schedule 'step'"),
        ({"schedule": "step", "milestones": (0.9, 0.5)}, "milestones must be rising fractions"),
        ({"schedule": "step", "milestones": (1.0,)}, "milestones must be rising fractions"),
        ({"nesterov": True, "momentum": 0.0}, "nesterov needs a momentum"),
        ({"ema_decay": 1.0}, "ema_decay must be in"),
        ({"distill_weight": 1.5}, "distill_weight must be in"),
        ({"distill_temperature": 0.0}, "distill_temperature must be positive"),
        ({"mean": (0.5, 0.5, 0.5)}, "mean and std go together"),
        ({"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.0, 0.5)}, "three numbers each, std positive"),
        ({"patience": -1}, "patience must be at least 0"),
    ],
)
def test_recipes_are_checked(kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TrainConfig(**kwargs)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"workers": -1}, "workers must be at least 0"),
        ({"precision": "16-mix"}, r"unknown precision '16-mix': did you mean 16-mixed\?"),
        ({"accelerator": "gpu"}, "unknown accelerator 'gpu'"),
        ({"devices": 0}, "devices and num_nodes must be at least 1"),
        ({"devices": 4}, "1 is running: start with torchrun --nnodes 1 --nproc-per-node 4"),
    ],
)
def test_hardware_is_checked(kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Hardware(**kwargs)


def test_processes_are_read_from_torchrun_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert processes() == (0, 1, 1)  # another launcher's variables are not ours
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert processes() == (5, 8, 4)
    assert Hardware(devices=4, num_nodes=2).devices == 4
