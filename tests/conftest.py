from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from torch import Tensor, nn

from sapool.export import export_int8, randomize_norms
from sapool.layers import SelfAttentivePool2d

# A machine at work is slow now and then: that is no failure.
settings.register_profile("no deadline", parent=settings.default, deadline=None)
settings.load_profile("no deadline")


class PooledNet(nn.Module):
    """A stem, a self-attentive pool and a classifier: the smallest network with everything a pool exports to."""

    def __init__(self, pool: nn.Module, channels: int = 8) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, 2, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU6())
        self.pool = pool
        self.classifier = nn.Linear(channels, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.stem(x)).mean((2, 3)))


def pooled_net(**kwargs: object) -> nn.Module:
    torch.manual_seed(0)
    settings: dict[str, object] = {"patch_size": 4} | kwargs
    return randomize_norms(PooledNet(SelfAttentivePool2d(8, 2, **settings))).eval()  # type: ignore[arg-type]


def images(count: int = 8, size: int = 32) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An int8 ``.tflite`` of a small network with a self-attentive pool."""
    path = tmp_path_factory.mktemp("exported") / "model.tflite"
    export_int8(copy.deepcopy(pooled_net()), [images(16)], path)
    return path
