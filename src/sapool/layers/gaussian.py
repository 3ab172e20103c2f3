"""Gaussian-based pooling: a window's mean plus a learned, noisy number of its standard deviations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sapool.layers.window import Pair, Window, WindowPool2d, at_least_float

# Of the variance, as in the author's code: the square root's slope is infinite at 0.
LEAST_VARIANCE = 1e-6


def counted(x: Tensor, window: Window) -> Iterator[Tensor]:
    """Yield the windows' positions: 1 where ``F.avg_pool2d`` counts the pixel, 0 beyond the padded map.

    Args:
        x: (N, C, H, W); only its shape, type and device matter.
        window: where to pool.

    Returns:
        kh kw masks (1, 1, Ho, Wo), row-major.
    """
    need = window.output_size(x.shape[2], x.shape[3])
    height, width = (size + 2 * pad for size, pad in zip(x.shape[2:], window.padding, strict=True))
    rows, columns = (
        (count - 1) * stride + kernel
        for count, stride, kernel in zip(need, window.stride, window.kernel_size, strict=True)
    )
    inside = F.pad(x.new_ones(1, 1, height, width), (0, columns - width, 0, rows - height))
    return Window(window.kernel_size, window.stride).samples(inside)


def average_samples(samples: Iterator[Tensor], x: Tensor, window: Window) -> Tensor:
    """Average something made of every position of the windows, by ``F.avg_pool2d``'s rule.

    Args:
        samples: kh kw tensors (N, C, Ho, Wo), in the order of :meth:`Window.samples` of ``x``.
        x: the map (N, C, H, W) that they were made of.
        window: where to pool.

    Returns:
        (N, C, Ho, Wo); a position beyond the padded map does not count.
    """
    total = torch.zeros((), dtype=x.dtype, device=x.device)
    if not window.ceil_mode:
        for sample in samples:
            total = total + sample
        return total / window.area
    count = torch.zeros((), dtype=x.dtype, device=x.device)
    for sample, inside in zip(samples, counted(x, window), strict=True):
        total, count = total + sample * inside, count + inside
    return total / count


class GaussianPool2d(WindowPool2d):
    """Pool a window to its mean plus a positive number of its standard deviations (Kobayashi, NeurIPS 2019).

    ``y = mu + softplus(M + S eps) sigma``, with mu and sigma the window's mean and standard deviation, M and
    S = sigmoid(.) one value a channel and image, computed from the map's mean by two 1x1 convolutions with BatchNorm
    each, and eps standard normal noise in training, 0 otherwise.

    Args:
        in_channels: C.
        kernel_size: pooling window, in pixels.
        stride: step of the window, in pixels; default ``kernel_size``.
        padding: zeros around the map, in pixels, at most half the kernel; they count, as in ``nn.AvgPool2d``.
        ceil_mode: whether a last window that reaches over the edge counts, as in ``nn.MaxPool2d``.
        stochasticity: ``"HWCN"`` draws eps for every output value, ``"CN"`` for every channel and image; ``None``
            draws none and has no S.
        reduction: the hidden layer has max(1, C // reduction) channels.

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
        stochasticity: Literal["HWCN", "CN"] | None = "HWCN",
        reduction: int = 2,
    ) -> None:
        super().__init__(in_channels, kernel_size, stride, padding, ceil_mode)
        self.check_choice("stochasticity", stochasticity, ("HWCN", "CN", None))
        self.check_at_least_one(reduction=reduction)
        self.stochasticity = stochasticity
        width = max(1, in_channels // reduction)
        self.hidden = nn.Conv2d(in_channels, width, 1)
        self.hidden_norm = nn.BatchNorm2d(width)
        self.mean = nn.Conv2d(width, in_channels, 1)
        self.mean_norm = nn.BatchNorm2d(in_channels)
        # Without noise S would be parameters that nothing trains.
        self.spread = None if stochasticity is None else nn.Conv2d(width, in_channels, 1)
        self.spread_norm = None if stochasticity is None else nn.BatchNorm2d(in_channels)

    def _strength(self, x: Tensor, like: Tensor) -> Tensor:
        """Return M + S eps for the map ``x``: (N, C, 1, 1), or (N, C, Ho, Wo) as ``like``."""
        if self.hidden_norm.training and x.shape[0] < 2:
            raise ValueError(
                f"{self.label}: the batch must be at least 2 in training, because Gaussian pooling's BatchNorms see "
                f"one value a channel per image, got {x.shape[0]}"
            )
        hidden = F.relu(self.hidden_norm(self.hidden(x.mean((2, 3), keepdim=True))))
        strength = self.mean_norm(self.mean(hidden))
        if not self.training or self.spread is None or self.spread_norm is None:
            return strength
        noise = torch.randn_like(like if self.stochasticity == "HWCN" else strength)
        return strength + torch.sigmoid(self.spread_norm(self.spread(hidden))) * noise

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x``.

        Args:
            x: (N, C, H, W).

        Returns:
            (N, C, Ho, Wo), as large as ``nn.MaxPool2d`` makes it.

        Raises:
            ValueError: a map smaller than the window; in training, a batch of one.
        """
        self.check_map(x)
        wide = at_least_float(x)
        mean = self.window.average(wide)
        # Not E[x^2] - E[x]^2, which cancels to noise where the mean is large against the deviation.
        deviations = ((sample - mean).square() for sample in self.window.samples(wide))
        variance = average_samples(deviations, wide, self.window)
        sigma = variance.clamp(min=LEAST_VARIANCE).sqrt()
        # -logsigmoid(-z) is softplus(z), without the threshold that int8 runtimes have no operator for.
        return (mean - F.logsigmoid(-self._strength(x, mean)) * sigma).to(x.dtype)

    def extra_repr(self) -> str:
        """Return the channels, the window and the noise, for ``print(module)``."""
        return f"{super().extra_repr()}, stochasticity={self.stochasticity!r}"
