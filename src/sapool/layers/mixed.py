"""Max and average pooling, mixed in a learned proportion."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sapool.layers.window import Pair, Window, WindowPool2d


def mix(x: Tensor, share: Tensor, window: Window) -> Tensor:
    """Return ``share * max + (1 - share) * average`` of every window.

    Args:
        x: (N, C, H, W).
        share: of the maximum, 0 to 1; broadcasts to (N, C, Ho, Wo).
        window: where to pool; its padding counts as zeros in the average and not at all in the maximum.

    Returns:
        (N, C, Ho, Wo), of the type of ``x``.
    """
    # Two products, because max - average overflows in half where the values are large and of both signs.
    return (share * window.maximum(x) + (1 - share) * window.average(x)).to(x.dtype)


class MixedPool2d(WindowPool2d):
    """Mix max and average pooling in one learned proportion (Lee, Gallagher and Tu, AISTATS 2016).

    ``y = a max + (1 - a) avg``, ``a = sigmoid(alpha)``, 1/2 at first.

    Args:
        in_channels: C.
        kernel_size: pooling window, in pixels.
        stride: step of the window, in pixels; default ``kernel_size``.
        padding: pixels around the map, at most half the kernel: zeros to the average, nothing to the maximum.
        ceil_mode: whether a last window that reaches over the edge counts, as in ``nn.MaxPool2d``.
        per_channel: learn one proportion a channel, not one for the layer.

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
        per_channel: bool = False,
    ) -> None:
        super().__init__(in_channels, kernel_size, stride, padding, ceil_mode)
        self.alpha = nn.Parameter(torch.zeros(in_channels if per_channel else 1))

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x`` (N, C, H, W) to (N, C, Ho, Wo), as large as ``nn.MaxPool2d`` makes it."""
        self.check_map(x)
        return mix(x, torch.sigmoid(self.alpha).view(1, -1, 1, 1), self.window)

    def extra_repr(self) -> str:
        """Return the channels, the window and the number of proportions, for ``print(module)``."""
        return f"{super().extra_repr()}, proportions={self.alpha.numel()}"


class GatedPool2d(WindowPool2d):
    """Mix max and average pooling in a proportion that each window decides (Lee, Gallagher and Tu, AISTATS 2016).

    ``y = a max + (1 - a) avg``, ``a = sigmoid(<omega, window of x>)``: a depthwise convolution as large as the window,
    without bias. omega is 0 at first, so that a is 1/2 and omega's own gradient is not 0.

    Args:
        in_channels: C.
        kernel_size: pooling window, in pixels.
        stride: step of the window, in pixels; default ``kernel_size``.
        padding: pixels around the map, at most half the kernel: zeros to average and gate, nothing to the maximum.
        ceil_mode: whether a last window that reaches over the edge counts, as in ``nn.MaxPool2d``.
        per_channel: learn one mask a channel, not one that all channels share.

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
        per_channel: bool = False,
    ) -> None:
        super().__init__(in_channels, kernel_size, stride, padding, ceil_mode)
        self.omega = nn.Parameter(torch.zeros(in_channels if per_channel else 1, 1, *self.window.kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x`` (N, C, H, W) to (N, C, Ho, Wo), as large as ``nn.MaxPool2d`` makes it."""
        self.check_map(x)
        mask = self.omega.expand(self.in_channels, -1, -1, -1)
        logit = F.conv2d(self.window.pad(x), mask, stride=self.window.stride, groups=self.in_channels)
        return mix(x, torch.sigmoid(logit), self.window)

    def extra_repr(self) -> str:
        """Return the channels, the window and the number of masks, for ``print(module)``."""
        return f"{super().extra_repr()}, masks={self.omega.shape[0]}"
