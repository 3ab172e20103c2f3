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

Pair = tuple[int, int]
Form = Literal["pool_first", "pool_once", "general"]


def as_pair(value: int | Pair) -> Pair:
    """Return ``(value, value)`` for an int, the pair itself otherwise."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _inside_one_patch(kernel: int, stride: int, patch: int) -> bool:
    """Whether every window of a side begins and ends in the same patch; the pattern repeats after ``patch`` windows."""
    return all(i * stride // patch == (i * stride + kernel - 1) // patch for i in range(patch))


@dataclass(frozen=True)
class Window:
    """A pooling window and the patch inside which its weight is constant; pairs are (rows, columns) in pixels."""

    kernel_size: Pair
    stride: Pair
    padding: Pair
    ceil_mode: bool
    patch_size: Pair
    normalize: bool

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


def _average(x: Tensor, kernel_size: Pair, stride: Pair, window: Window) -> Tensor:
    if kernel_size == (1, 1) and stride == (1, 1):
        return x
    return F.avg_pool2d(x, kernel_size, stride, window.padding, window.ceil_mode)


def reduce_before_weighting(x: Tensor, window: Window) -> Tensor:
    """Reduce ``x`` as far as the window's form allows before its weight is known.

    Args:
        x: the map to pool, (N, C, H, W).
        window: the window.

    Returns:
        (N, C, H', W'): ``A_p(x)``, ``A_s(x)`` or ``x`` itself.
    """
    if window.form == "pool_first":
        return _average(x, window.patch_size, window.patch_size, window)
    if window.form == "pool_once":
        return _average(x, window.kernel_size, window.stride, window)
    return x


def upsample_nearest(weight: Tensor, factor: Pair, size: Pair) -> Tensor:
    """Repeat every pixel of ``weight`` (N, C, h, w) ``factor`` times a side and crop to ``size``: (N, C, *size)."""
    if factor != (1, 1):
        weight = F.interpolate(weight, size=(weight.shape[2] * factor[0], weight.shape[3] * factor[1]), mode="nearest")
    return weight[:, :, : size[0], : size[1]] if tuple(weight.shape[2:]) != size else weight


def weighted_average(reduced: Tensor, weight: Tensor, window: Window) -> Tensor:
    """Finish ``avg(x w) / avg(w)`` (or ``avg(x w)``) over the window.

    Args:
        reduced: what :func:`reduce_before_weighting` returned, (N, C, H', W').
        weight: positive weights at patch resolution, (N, C, h, w).
        window: the window.

    Returns:
        The pooled map, (N, C, Ho, Wo), as large as ``nn.AvgPool2d`` would make it.
    """
    if reduced.dtype in (torch.float16, torch.bfloat16):  # x w may overflow where their ratio does not
        return weighted_average(reduced.float(), weight.float(), window).to(reduced.dtype)
    size = (reduced.shape[2], reduced.shape[3])
    if window.form == "pool_once":
        factor = (window.patch_size[0] // window.stride[0], window.patch_size[1] // window.stride[1])
        return reduced * upsample_nearest(weight, factor, size)
    kernel_size, stride = window.kernel_size, window.stride
    if window.form == "pool_first":
        (p, q), (k, m), (s, t) = window.patch_size, kernel_size, stride
        kernel_size, stride = (k // p, m // q), (s // p, t // q)
        weight = upsample_nearest(weight, (1, 1), size)
    else:
        weight = upsample_nearest(weight, window.patch_size, size)
    pooled = _average(reduced * weight, kernel_size, stride, window)
    return pooled / _average(weight, kernel_size, stride, window) if window.normalize else pooled
