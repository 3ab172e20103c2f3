"""Lowering small networks, and what kinds of operators came out."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from sapool.networks.traced import trace
from sapool.predict.lowering import lower
from sapool.tflite import Graph


def kinds(graph: Graph) -> list[str]:
    return [operator.kind for operator in graph.operators]


def lowered(model: nn.Module, size: tuple[int, int, int] = (3, 16, 16)) -> Graph:
    return lower(trace(model.eval(), size).module, size)


class Calls(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv2d(3, 8, 3, padding=1), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv(x))
