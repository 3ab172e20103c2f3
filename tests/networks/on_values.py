"""Networks whose code looks at the values of their maps: they can be planned, but not traced."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """A residual block whose shortcut shrinks too."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(inner, outer, 3, 2, 1), nn.Conv2d(outer, outer, 3, 1, 1)
        self.shortcut = nn.Conv2d(inner, outer, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.shortcut(x))


class OnValues(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pool = nn.Conv2d(3, 8, 3, 2, 1), nn.MaxPool2d(2)
        self.block, self.head = Block(8, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        if x.mean() > 100:
            return x.new_zeros(len(x), 4)
        return self.head(self.block(self.pool(self.stem(x))).mean((2, 3)))


class OverTheBatch(OnValues):
    def forward(self, x: Tensor) -> Tensor:
        rows = [self.block(self.pool(self.stem(x[i : i + 1]))) for i in range(x.shape[0])]
        return self.head(torch.cat(rows).mean((2, 3)))


class ByItem(OnValues):
    def forward(self, x: Tensor) -> Tensor:
        keep = int(x.abs().max().clamp(1, 3).item())
        return self.head(self.block(self.pool(self.stem(x)))[:, :, :keep].mean((2, 3)))


class ThroughNumpy(OnValues):
    def forward(self, x: Tensor) -> Tensor:
        scale = float(x.detach().numpy().max())
        return self.head(self.block(self.pool(self.stem(x / scale))).mean((2, 3)))


WHOLE = [OnValues, OverTheBatch, ByItem, ThroughNumpy]


def by_hand(model: Any) -> nn.Module:
    """The network with average pooling in place of its strides at 2, 2, 4, written out."""

    class Pooled(nn.Module):
        def __init__(self, conv: nn.Conv2d, by: int) -> None:
            super().__init__()
            self.conv, self.by = conv, by

        def forward(self, x: Tensor) -> Tensor:
            return F.avg_pool2d(self.conv(x), self.by)

    net: Any = copy.deepcopy(model)
    net.stem.stride = (1, 1)
    net.stem, net.pool = Pooled(net.stem, 2), nn.AvgPool2d(2)
    net.block.conv1, net.block.shortcut = Pooled(net.block.conv1, 2), Pooled(net.block.shortcut, 2)
    return net


class Unpadded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 4, 4)
        self.pool = nn.MaxPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(input=x)) if x.sum() > -1 else x
