"""How much a channel matters, by name: torch-pruning's measures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sapool.base.extras import require
from sapool.base.suggest import suggest
from sapool.pruning.groups import Scorer

Batches = Iterable[tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor], Tensor]

IMPORTANCES = {
    "magnitude": "L1 norm of the filters that make the channel and of those that read it (Li et al., ICLR 2017)",
    "group_norm": "L2 norm of everything that goes with the channel (Fang et al., CVPR 2023)",
    "bn_scale": "weights of its BatchNorms (Liu et al., ICCV 2017)",
    "taylor": "change of the loss, to first order, without the channel (Molchanov et al., CVPR 2019); needs data",
}


def check_importance(name: str, data: Batches | None) -> None:
    """Raise a ValueError for an unknown measure, or one whose data is missing or not needed."""
    if name not in IMPORTANCES:
        raise ValueError(f"unknown importance {name!r}: {suggest(name, list(IMPORTANCES))}")
    if name == "taylor" and data is None:
        raise ValueError("importance='taylor' needs data: batches of (images, labels) to compute gradients with")
    if name != "taylor" and data is not None:
        raise ValueError(f"data goes with importance='taylor', and importance is {name!r}")


def make_scorers(name: str) -> tuple[Scorer, Scorer]:
    """Return the measure and what stands in where it has nothing to look at (no BatchNorm in a group)."""
    tp = require("torch_pruning", "prune", "prune_channels").importance
    layers = [nn.modules.conv._ConvNd, nn.Linear]
    magnitude = tp.GroupMagnitudeImportance(p=1, group_reduction="mean", normalizer=None, target_types=layers)
    made: Scorer = {
        "magnitude": lambda: magnitude,
        "group_norm": lambda: tp.GroupMagnitudeImportance(p=2, group_reduction="sum", normalizer=None),
        "bn_scale": lambda: tp.BNScaleImportance(normalizer=None),
        "taylor": lambda: tp.GroupTaylorImportance(normalizer=None),
    }[name]()
    return made, magnitude


def add_gradients(model: nn.Module, data: Batches, loss: Loss | None) -> None:
    """Leave the loss's gradients over ``data`` in the model's parameters; its statistics stay as they are.

    Raises:
        ValueError: no batch.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    modes = {module: module.training for module in model.modules()}
    model.eval()
    model.zero_grad()
    batches = 0
    with torch.enable_grad():
        for images, labels in data:
            total: Any = (loss or F.cross_entropy)(model(images.to(device)), labels.to(device))
            total.backward()
            batches += 1
    for module, training in modes.items():
        module.training = training
    if batches == 0:
        raise ValueError("data must hold at least one batch of (images, labels), got none")
    for parameter in model.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
