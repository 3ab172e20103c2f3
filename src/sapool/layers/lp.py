"""Pooling by a p-norm whose order is learned."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sapool.layers.gaussian import average_samples
from sapool.layers.window import Pair, Window, WindowPool2d, at_least_float


def power_mean(x: Tensor, p: Tensor | float, window: Window, eps: float = 1e-6) -> Tensor:
    """Return ``(mean |x|^p)^(1/p)`` of every window.

    Args:
        x: (N, C, H, W).
        p: at least 1; a number, or a tensor that broadcasts to ``x``.
        window: where to pool; its padding counts as zeros, as in ``nn.AvgPool2d``.
        eps: a window with no value as large as this is off by less than it, and its gradient is finite, 0 where all
            values are 0.

    Returns:
        (N, C, Ho, Wo), of the type of ``x``; half types are computed in float32.
    """
    wide = at_least_float(x.abs())
    # With the largest value taken out, |x|^p is at most 1 and their mean at least 1 / area, whatever p. It cancels,
    # so that it needs no gradient.
    top = window.maximum(wide.detach())
    scale = top.clamp(min=eps)
    powers = ((sample / scale).pow(p) for sample in window.samples(wide))
    # The root's slope is infinite at 0, which only windows under eps come near.
    mean = average_samples(powers, wide, window).clamp(min=0.5 / window.area)
    return (top * mean.pow(1 / p)).to(x.dtype)


class LpPool2d(WindowPool2d):
    """Pool a window to its p-norm over the mean, with one learned order a channel (Gulcehre et al., 2014).

    ``y = (mean |x|^p)^(1/p)``: the average magnitude at p = 1, the root mean square at 2, the largest magnitude at
    infinity. Learned, ``p = 1 + softplus(rho)``. Not torch's ``LPPool2d``, which sums where this averages.

    Args:
        in_channels: C.
        kernel_size: pooling window, in pixels.
        stride: step of the window, in pixels; default ``kernel_size``.
        padding: zeros around the map, in pixels, at most half the kernel; they count, as in ``nn.AvgPool2d``.
        ceil_mode: whether a last window that reaches over the edge counts, as in ``nn.MaxPool2d``.
        p: the order, at first if it is learned: above 1 if it is learned, at least 1 otherwise.
        learned: whether to learn one order a channel.
        eps: the magnitude under which a window need not be exact, see :func:`power_mean`.

    Raises:
        ValueError: a value out of its range.
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
        *,
        p: float = 2.0,
        learned: bool = True,
        eps: float = 1e-6,
    ) -> None:
        super().__init__(in_channels, kernel_size, stride, padding, ceil_mode)
        if not math.isfinite(p) or p < 1 or (learned and p == 1):
            rule = "above 1 where it is learned" if learned else "at least 1"
            raise ValueError(f"{self.label}: p must be finite and {rule}, got {p}")
        if not eps > 0:
            raise ValueError(f"{self.label}: eps must be positive, got {eps}")
        self.p, self.eps = float(p), eps
        # The inverse of softplus, in the form that does not overflow at a large p.
        start = p - 1 + math.log(-math.expm1(1 - p)) if learned else 0.0
        self.rho = nn.Parameter(torch.full((in_channels,), start)) if learned else None

    @property
    def order(self) -> Tensor | float:
        """The present p: (1, C, 1, 1) where it is learned, else the number."""
        if self.rho is None:
            return self.p
        rho = at_least_float(self.rho)
        return 1 + F.softplus(rho).view(1, -1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x`` (N, C, H, W) to (N, C, Ho, Wo), as large as ``nn.MaxPool2d`` makes it; nothing is below 0."""
        self.check_map(x)
        return power_mean(x, self.order, self.window, self.eps)

    def extra_repr(self) -> str:
        """Return the channels, the window and the first order, for ``print(module)``."""
        return f"{super().extra_repr()}, p={self.p}, learned={self.rho is not None}"
