from __future__ import annotations

import importlib

import pytest
from timm.layers import GlobalContext
from torch import Tensor, nn

from sapool.pruning import prune_channels
from sapool.pruning.bounds import bounded_groups


class Context(nn.Module):
    """A network with a global-context block, whose map is laid out as rows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.block = nn.Conv2d(3, channels, 3, 2, 1), GlobalContext(channels)
        self.second, self.head = nn.Conv2d(channels, channels, 3, 2, 1), nn.Linear(channels, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.block(self.first(x))).mean((2, 3)))


@pytest.mark.parametrize("channels", [8, 16])
def test_a_block_that_torch_pruning_never_leaves_is_named(channels: int) -> None:
    with pytest.raises(ValueError, match=r"can't follow Context behind (first|block\.\S+): it finds more"):
        prune_channels(Context(channels).eval(), 32, ratio=0.5)


def test_the_bound_is_gone_behind_it() -> None:
    graphs = importlib.import_module("torch_pruning.dependency.graph")
    known = graphs.Group
    with bounded_groups(nn.Conv2d(3, 4, 3), str):
        assert graphs.Group is not known
    assert graphs.Group is known
