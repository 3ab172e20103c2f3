from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from torch import Tensor, nn

from sapool.export import export_int8, randomize_norms
from sapool.layers import SelfAttentivePool2d
from tests import shared

# A machine at work is slow now and then: that is no failure.
settings.register_profile("no deadline", parent=settings.default, deadline=None)
settings.load_profile("no deadline")


def pytest_configure(config: pytest.Config) -> None:
    """Share what is slow to make between all processes of this run."""
    if shared.open_folder():
        config.add_cleanup(shared.remove_folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that hold most slow tests: a long one at the end would keep one process waiting."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


def pytest_collection_finish() -> None:
    """Let the collector of cyclic garbage pass by what was imported: converting looks through it again and again."""
    gc.collect()
    gc.freeze()


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
def exported() -> Path:
    """An int8 ``.tflite`` of a small network with a self-attentive pool; a test that writes to it takes a copy."""
    return shared.made_once("exported.tflite", lambda path: export_int8(pooled_net(), [images(16)], path))
