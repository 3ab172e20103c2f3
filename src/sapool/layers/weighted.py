"""Weighted window averages ``avg(x w) / avg(w)`` for a weight that is constant inside a patch.

Write A_k for k x k average pooling and U_p for nearest upsampling by p. The weight arrives at patch resolution, and the
identities below keep everything but ``x`` away from full resolution:

- p divides kernel and stride: ``A_s(x U_p(w)) = A_{s/p}(A_p(x) w)`` and ``A_s(U_p(w)) = A_{s/p}(w)``;
- s divides p, un-normalised, kernel = stride: ``A_s(x U_p(w)) = A_s(x) U_{p/s}(w)``.

Both let ``x`` be reduced *before* the weight exists, so :func:`reduce_before_weighting` is called first (its result is
all that has to stay in memory while the weight is computed) and :func:`weighted_average` second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sapool.layers.cpu.tiles import SpreadTiles, trains_on_cpu
from sapool.layers.window import Pair, Window

Form = Literal["pool_first", "pool_once", "general"]


def _inside_one_patch(kernel: int, stride: int, patch: int) -> bool:
    """Whether every window of a side begins and ends in the same patch; the pattern repeats after ``patch`` windows."""
    return all(i * stride // patch == (i * stride + kernel - 1) // patch for i in range(patch))


@dataclass(frozen=True)
class WeightedWindow(Window):
    """A pooling window and the patch inside which its weight is constant; pairs are (rows, columns) in pixels."""

    patch_size: Pair = (1, 1)
    normalize: bool = True
    count_include_pad: bool = True

    @property
    def collapses(self) -> bool:
        """Whether the weight cancels, so that the pool is plain average pooling whatever its parameters.

        It does where the window is normalised and never reaches over the edge of a patch.
        """
        sides = zip(self.kernel_size, self.stride, self.patch_size, strict=True)
        return self.normalize and self.padding == (0, 0) and all(_inside_one_patch(k, s, p) for k, s, p in sides)

    @property
    def form(self) -> Form:
        """The leanest exact form of this window: see the module's text."""
        if self.ceil_mode or self.padding != (0, 0):
            return "general"
        sides = list(zip(self.kernel_size, self.stride, self.patch_size, strict=True))
        if all(k % p == 0 and s % p == 0 for k, s, p in sides):
            return "pool_first"
        if not self.normalize and all(p % s == 0 and k == s for k, s, p in sides):
            return "pool_once"
        return "general"

    @property
    def reduction(self) -> Pair | None:
        """The tile that :func:`reduce_before_weighting` averages ``x`` over, or None where it does not."""
        return {"pool_first": self.patch_size, "pool_once": self.stride, "general": None}[self.form]

    @property
    def on_reduced(self) -> Window:
        """The window on the map that :func:`reduce_before_weighting` leaves."""
        if self.form == "general":
            return Window(self.kernel_size, self.stride, self.padding, self.ceil_mode)
        if self.form == "pool_once":
            return Window((1, 1), (1, 1))
        (p, q), (k, m), (s, t) = self.patch_size, self.kernel_size, self.stride
        return Window((k // p, m // q), (s // p, t // q))


def reduce_before_weighting(x: Tensor, window: WeightedWindow) -> Tensor:
    """Reduce ``x`` as far as the window's form allows before its weight is known.

    Args:
        x: the map to pool, (N, C, H, W).
        window: the window.

    Returns:
        (N, C, H', W'): ``A_p(x)``, ``A_s(x)`` or ``x`` itself.
    """
    return x if window.reduction is None else Window(window.reduction, window.reduction).average(x)


def upsample_nearest(weight: Tensor, factor: Pair, size: Pair) -> Tensor:
    """Repeat every pixel of ``weight`` (N, C, h, w) ``factor`` times a side and crop to ``size``: (N, C, *size)."""
    if factor != (1, 1) and trains_on_cpu(weight):
        weight = SpreadTiles.of(weight, factor)
    elif factor != (1, 1):
        weight = F.interpolate(weight, size=(weight.shape[2] * factor[0], weight.shape[3] * factor[1]), mode="nearest")
    return crop(weight, size)


def crop(x: Tensor, size: Pair) -> Tensor:
    """Return the top left ``size`` of ``x`` (N, C, H, W)."""
    return x[:, :, : size[0], : size[1]] if tuple(x.shape[2:]) != size else x


def spread_weight(weight: Tensor, window: WeightedWindow, size: Pair) -> Tensor:
    """Bring ``weight`` (N, C, h, w) from patch resolution to ``size``, that of the reduced map."""
    factor = window.patch_size
    if window.form == "pool_first":
        factor = (1, 1)
    elif window.form == "pool_once":
        factor = (factor[0] // window.stride[0], factor[1] // window.stride[1])
    return upsample_nearest(weight, factor, size)


def weighted_average(reduced: Tensor, weight: Tensor, window: WeightedWindow) -> Tensor:
    """Finish ``avg(x w) / avg(w)`` (or ``avg(x w)``) over the window.

    Args:
        reduced: what :func:`reduce_before_weighting` returned, (N, C, H', W').
        weight: positive weights at patch resolution, (N, C, h, w).
        window: the window.

    Returns:
        The pooled map, (N, C, Ho, Wo), as large as ``nn.AvgPool2d`` would make it; ``reduced``'s dtype.
    """
    if torch.finfo(reduced.dtype).bits < 32:  # x w may overflow where their ratio does not
        return weighted_average(reduced.float(), weight, window).to(reduced.dtype)
    weight = spread_weight(weight.to(reduced.dtype), window, (reduced.shape[2], reduced.shape[3]))
    if reduced.is_contiguous():  # the attention leaves channels last; mixing the two costs far more than this copy
        weight = weight.contiguous()
    on_reduced, pads = window.on_reduced, window.count_include_pad
    pooled = on_reduced.average(reduced * weight, pads)
    return pooled / on_reduced.average(weight, pads) if window.normalize else pooled
