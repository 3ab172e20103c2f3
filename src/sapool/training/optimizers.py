"""The optimiser and the learning rate's course that a recipe asks for."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from sapool.training.config import TrainConfig

# Share of the steps in which one-cycle rises; in a run of so few steps that this is none, half of them.
_RISE, _RISE_OF_FEW, _FEWEST = 0.2, 0.5, 3


def build_optimizer(model: nn.Module, config: TrainConfig, *, fused: bool = False) -> Optimizer:
    """Return the recipe's optimiser over ``model``'s parameters; ``fused``: one kernel for all of them."""
    groups = _groups(model, config)
    if config.optimizer == "sgd":
        return SGD(
            groups,
            lr=config.learning_rate,
            momentum=config.momentum,
            nesterov=config.nesterov,
            fused=fused,
        )
    return AdamW(groups, lr=config.learning_rate, fused=fused)


def _groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Weight matrices are decayed; norms, biases and position tables are not."""
    if config.decay_norms:
        return [{"params": list(model.parameters()), "weight_decay": config.weight_decay}]
    decayed = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    chosen = {id(p) for p in decayed}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def build_schedule(optimizer: Optimizer, config: TrainConfig, total_steps: int) -> LRScheduler:
    """Return the course of the learning rate over ``total_steps``, moved on after every step."""
    if config.schedule == "one_cycle" and total_steps >= _FEWEST:
        # AdamW's first moment is cycled against the rate, as in the paper; a recipe's SGD momentum is left alone.
        return OneCycleLR(
            optimizer,
            config.learning_rate,
            total_steps=total_steps,
            pct_start=_RISE if total_steps * _RISE > 1 else _RISE_OF_FEW,
            cycle_momentum=config.optimizer == "adamw",
        )
    return LambdaLR(optimizer, _factor(config, total_steps))


def _factor(config: TrainConfig, total_steps: int) -> Callable[[int], float]:
    warm = config.warmup_epochs / config.epochs * total_steps

    def factor(step: int) -> float:
        if step < warm:
            return min(1.0, (step + 1) / warm)
        if config.schedule == "cosine":
            return (1 + math.cos(math.pi * (step - warm) / (total_steps - warm))) / 2
        if config.schedule == "step":
            return config.step_factor ** bisect_right(config.milestones, step / total_steps)
        return 1.0

    return factor
