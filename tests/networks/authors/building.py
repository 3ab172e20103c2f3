"""Building the authors' networks without weights, and pools that write down what they see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sapool.layers.self_attentive import CollapseWarning
from sapool.networks.authors import build

COLLAPSING = {"prepool-nlp_headfix2_nowin-2-mobilenet_v2-skip-1222121"}


@contextmanager
def collapse_warning(expected: bool) -> Iterator[None]:
    if not expected:
        yield
        return
    with pytest.warns(CollapseWarning):
        yield


def build_meta(name: str, num_classes: int = 10) -> Any:
    with torch.device("meta"), collapse_warning(name in COLLAPSING):
        return build(name, num_classes).eval()


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


class Recorder(nn.AvgPool2d):
    """Stands for a pool; keeps what it was asked for and what it saw."""

    def __init__(self, calls: list[dict[str, Any]], token: str, channels: int, kernel_size: int, **settings: Any):
        super().__init__(kernel_size)
        self.seen = {"token": token, "channels": channels, "kernel_size": kernel_size, **settings}
        calls.append(self.seen)

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == self.seen["channels"]
        self.seen |= {"side": x.shape[2], "negative": bool((x < 0).any())}
        return super().forward(x)
