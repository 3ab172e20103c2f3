"""Anti-aliased pooling: low-pass filter, then sub-sample."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from sapool.base.extras import require
from sapool.layers.window import Pair, WindowPool2d


class BlurPool2d(WindowPool2d):
    """Blur the map, and only then sub-sample it (Zhang, ICML 2019).

    The blur is timm's binomial filter at stride 2, applied once for every factor of 2 in the stride, around every
    ``stride``-th pixel whatever the window, which only says how large the output is. With ``max_first`` every window's
    maximum is taken before, at stride 1: the output at each place is then the blurred maximum of just the window that
    ``nn.MaxPool2d`` has there.

    Args:
        in_channels: C.
        kernel_size: pooling window, in pixels.
        stride: step of the window, in pixels: 2, 4, 8, ..., the same on both sides; default ``kernel_size``.
        padding: pixels around the map, which are never a maximum; at most half the kernel.
        ceil_mode: whether a last window that reaches over the edge counts, as in ``nn.MaxPool2d``.
        filter_size: of the blur, in pixels: 3, 5, 7, ...
        max_first: the paper's form where a max pool stood; ``False`` is its form for a strided convolution (behind
            the convolution) or an average pool.

    Raises:
        ValueError: a value out of its range; without ``max_first``, a window whose output is larger than
            ceil(H / stride) for some map.
        ImportError: timm is not installed.
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
        *,
        filter_size: int = 3,
        max_first: bool = False,
    ) -> None:
        super().__init__(in_channels, kernel_size, stride, padding, ceil_mode)
        self.filter_size, self.max_first = filter_size, max_first
        step = self.window.stride[0]
        if step < 2 or step & (step - 1) or self.window.stride[1] != step:
            raise ValueError(
                f"{self.label}: stride must be 2, 4, 8 or another power of two, the same on both sides, "
                f"got {self.window.stride}"
            )
        if filter_size < 3 or filter_size % 2 == 0:
            raise ValueError(f"{self.label}: filter_size must be odd and at least 3, got {filter_size}")
        if not max_first:
            self._check_window()
        timm = require("timm.layers", "train", self.label)
        blurs = (timm.BlurPool2d(in_channels, filter_size, stride=2) for _ in range(step.bit_length() - 1))
        self.blurs = nn.ModuleList(blurs)

    def _check_window(self) -> None:
        """Raise a ValueError where a map's output would be larger than what the blur of the map leaves."""
        window = self.window
        for kernel, stride, pad in zip(window.kernel_size, window.stride, window.padding, strict=True):
            most = (kernel - stride) // 2 if window.ceil_mode else (kernel - 1) // 2
            if pad > max(0, most):
                rule = "(kernel_size - stride) / 2 in ceil_mode" if window.ceil_mode else "(kernel_size - 1) / 2"
                raise ValueError(f"{self.label}: padding must be 0 or at most {rule} without max_first, got {pad}")

    def _dense_maximum(self, x: Tensor) -> Tensor:
        window = self.window
        if window.ceil_mode:
            return F.max_pool2d(window.pad(x, -math.inf), window.kernel_size, 1)
        return F.max_pool2d(x, window.kernel_size, 1, window.padding)

    def _lengthen(self, x: Tensor) -> Tensor:
        """Repeat the last row and column of ``x`` until the filter's reflection at the edge is defined."""
        short = [max(0, self.filter_size // 2 + 1 - side) for side in x.shape[2:]]
        return F.pad(x, (0, short[1], 0, short[0]), mode="replicate") if any(short) else x

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x`` (N, C, H, W) to (N, C, Ho, Wo), as large as ``nn.MaxPool2d`` makes it."""
        self.check_map(x)
        rows, columns = self.window.output_size(x.shape[2], x.shape[3])
        if self.max_first:
            x = self._dense_maximum(x)
        for blur in self.blurs:
            x = blur(self._lengthen(x))
        return x[:, :, :rows, :columns]

    def extra_repr(self) -> str:
        """Return the channels, the window and the filter, for ``print(module)``."""
        return f"{super().extra_repr()}, filter_size={self.filter_size}, max_first={self.max_first}"
