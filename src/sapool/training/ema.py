"""The moving average of the weights, which is what validation judges and the best checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor

_Values = Sequence[Tensor] | Any


def _average(decay: float) -> Callable[[_Values, _Values, Tensor | int], None]:
    """Return the update: a short average first, so that a run of few steps is not judged by its initial weights."""

    @torch.no_grad()
    def update(averaged: _Values, current: _Values, seen: Tensor | int) -> None:
        steps = int(seen)
        weight = 1 - min(decay, (1 + steps) / (10 + steps))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(list(averaged), list(current), weight)
        else:  # BatchNorm's count of batches
            for ours, theirs in zip(averaged, current, strict=True):
                ours.copy_(theirs)

    return update


class MovingAverage(WeightAveraging):
    """Exponential moving average over the steps, BatchNorm's statistics included.

    Args:
        decay: its final decay a step; after n steps it is at most (1 + n) / (10 + n).
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=True, multi_avg_fn=_average(decay))
