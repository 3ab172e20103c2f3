"""A network that trains in a second."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sapool.training import TrainConfig


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


CONFIG = TrainConfig(epochs=4, batch_size=100)
