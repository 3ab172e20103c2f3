from __future__ import annotations

import pytest
from torch import Tensor, nn

from sapool.networks.load import load_model
from sapool.pruning import prune_channels
from tests.pruning.networks import SIZE


class _Misread(nn.Module):
    """Its code mixes channels by a product that a dependency graph takes for element by element."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3)
        self.turn = _Turn()
        self.last = nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.turn(self.first(x)))


class _Turn(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flip(1)


def test_a_network_that_is_misread_is_refused() -> None:
    with pytest.raises(ValueError, match=r"can't follow _Misread.*differs by"):
        prune_channels(_Misread(), 16, ratio=0.5, passes="none")


def test_a_network_that_cannot_be_followed_says_where() -> None:
    shuffle = load_model("torchvision:shufflenet_v2_x0_5", 10)
    with pytest.raises(ValueError, match="can't follow ShuffleNetV2 behind stage"):
        prune_channels(shuffle, SIZE, ratio=0.5, passes="none")
