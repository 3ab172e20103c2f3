"""What TensorFlow Lite Micro's reference kernels compute, written from their definition in plain whole numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def high_mul(a: int, b: int) -> int:
    """SaturatingRoundingDoublingHighMul: a * b / 2^31, rounded as gemmlowp does."""
    if a == b == -(1 << 31):
        return (1 << 31) - 1
    product = a * b
    nudge = (1 << 30) if product >= 0 else 1 - (1 << 30)
    return math.trunc((product + nudge) / (1 << 31)) if abs(product) < 1 << 52 else _truncate(product + nudge)


def _truncate(value: int) -> int:
    return value >> 31 if value >= 0 else -(-value >> 31)


def divide_by_power(x: int, exponent: int) -> int:
    """RoundingDivideByPOT: x / 2^exponent, halves away from zero."""
    mask = (1 << exponent) - 1
    return (x >> exponent) + ((x & mask) > (mask >> 1) + (x < 0))


def requantize(x: int, multiplier: int, shift: int) -> int:
    """MultiplyByQuantizedMultiplier; ``shift`` is TFLite's: above 0 to the left."""
    return divide_by_power(high_mul(_wrap(x << max(shift, 0)), multiplier), max(-shift, 0))


def _wrap(x: int) -> int:
    return (x + (1 << 31)) % (1 << 32) - (1 << 31)


def convolve(
    image: Ints,
    weights: Ints,
    bias: Ints,
    multipliers: Ints,
    shifts: Ints,
    *,
    stride: int,
    dilation: int,
    padding: tuple[int, int, int, int],
    in_zero: int,
    out_zero: int,
    low: int,
    high: int,
) -> Ints:
    """Convolve (H, W, C) by (N, kh, kw, C) to (H', W', N); padding is top, bottom, left, right."""
    top, bottom, left, right = padding
    # a padded tap adds nothing: it holds the zero point
    padded = np.pad(image - in_zero, ((top, bottom), (left, right), (0, 0)))
    count, kernel_h, kernel_w, _ = weights.shape
    height = (padded.shape[0] - (kernel_h - 1) * dilation - 1) // stride + 1
    width = (padded.shape[1] - (kernel_w - 1) * dilation - 1) // stride + 1
    out = np.zeros((height, width, count), np.int64)
    for y in range(height):
        for x in range(width):
            window = padded[
                y * stride : y * stride + (kernel_h - 1) * dilation + 1 : dilation,
                x * stride : x * stride + (kernel_w - 1) * dilation + 1 : dilation,
            ]
            for n in range(count):
                total = int((window * weights[n]).sum() + bias[n])
                scaled = requantize(total, int(multipliers[n]), int(shifts[n])) + out_zero
                out[y, x, n] = min(max(scaled, low), high)
    return out


def random_values(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).integers(-128, 128, shape)
