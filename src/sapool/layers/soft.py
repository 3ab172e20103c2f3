"""Soft-max weighted pooling."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sapool.layers.window import Pair, Window, WindowPool2d, at_least_float


def softmax_average(values: Tensor, logits: Tensor, window: Window) -> Tensor:
    """Average ``values`` in every window with the weights ``softmax(logits)`` of that window.

    Pixels in the padding and beyond the map have no weight. Half types are computed in float32, and one position of
    the windows at a time, so that without gradients no tensor of all windows' pixels is held.

    Args:
        values: (N, C, H, W).
        logits: (N, C, H, W), or of a shape that broadcasts to it with the same H and W; finite.
        window: where to pool.

    Returns:
        (N, C, Ho, Wo), of the type of ``values``.
    """
    wide, scores = at_least_float(values), at_least_float(logits)
    # Each window's own maximum: with one for the map, far smaller windows would be 0 / 0. It cancels, so that it needs
    # no gradient.
    top = window.maximum(scores.detach())
    total, norm = torch.zeros_like(top), torch.zeros_like(top)
    for value, score in zip(window.samples(wide), window.samples(scores, -math.inf), strict=True):
        weight = torch.exp(score - top)
        total, norm = total + weight * value, norm + weight
    return (total / norm).to(values.dtype)


class WindowSoftmax(nn.Module):
    """:func:`softmax_average` as a module, because a micro-controller needs another form of it.

    Args:
        bound: logits lie between 0 and this (at most 80), where exp is harmless in float32, so that the plain quotient
            of two averages, which is faster, can be used. ``None``: every window is taken relative to its largest.
    """

    def __init__(self, bound: float | None) -> None:
        super().__init__()
        self.bound = bound

    def forward(self, values: Tensor, logits: Tensor, window: Window) -> Tensor:
        """Pool ``values`` with ``logits``, both (N, C, H, W), to (N, C, Ho, Wo) in the dtype of ``values``."""
        if self.bound is None:
            return softmax_average(values, logits, window)
        # Relative to the bound, which cancels, no weight is over 1.
        weight = torch.exp(at_least_float(logits) - self.bound)
        wide = at_least_float(values)
        return (window.average(wide * weight) / window.average(weight)).to(values.dtype)


class SoftPool2d(WindowPool2d):
    """Average every window with the soft-max of its own values as weights (Stergiou et al., ICCV 2021).

    ``y = sum(e^x x) / sum(e^x)`` over the window: between the average and the maximum, with no parameters.

    Args:
        in_channels: C.
        kernel_size: pooling window, in pixels.
        stride: step of the window, in pixels; default ``kernel_size``.
        padding: pixels around the map, which have no weight; at most half the kernel.
        ceil_mode: whether a last window that reaches over the edge counts, as in ``nn.MaxPool2d``.

    Raises:
        ValueError: a value out of its range.
    """

    pads_count = False

    def __init__(
        self,
        in_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(in_channels, kernel_size, stride, padding, ceil_mode)
        self.softmax = WindowSoftmax(bound=None)

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x`` (N, C, H, W) to (N, C, Ho, Wo), as large as ``nn.MaxPool2d`` makes it."""
        self.check_map(x)
        return self.softmax(x, x, self.window)
