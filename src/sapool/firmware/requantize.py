"""How scales become integer multipliers, exactly as the interpreter makes them, and where a shorter form is exact."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sapool.tflite.graph import Tensor

_LIMIT = 1 << 30


def multiplier(real: float) -> tuple[int, int]:
    """Return (multiplier, shift) with ``real`` = multiplier * 2 ** (-31 - shift); a shift above 0 is to the right."""
    if real == 0.0:
        return 0, 0
    mantissa, exponent = math.frexp(real)
    fixed = math.floor(mantissa * (1 << 31) + 0.5)
    if fixed == 1 << 31:
        fixed, exponent = fixed // 2, exponent + 1
    if exponent < -31:
        return 0, 0
    if exponent > 30:
        return (1 << 31) - 1, -30
    return fixed, -exponent


def float32_product(one: float, other: float) -> float:
    """Return a product rounded to float32, as BATCH_MATMUL and FULLY_CONNECTED with one scale form it."""
    return float(np.float32(one) * np.float32(other))


def clamp_range(activation: str, tensor: Tensor) -> tuple[int, int]:
    """Return the smallest and largest value that a fused activation leaves of an int8 tensor."""
    low, high = -128, 127
    scale, zero = np.float32(tensor.scale), tensor.zero_point
    if activation in ("RELU", "RELU6"):
        low = max(low, zero)
    if activation == "RELU6":
        high = min(high, zero + round_away(float(np.float32(6.0) / scale)))
    if activation == "RELU_N1_TO_1":
        low = max(low, zero + round_away(float(np.float32(-1.0) / scale)))
        high = min(high, zero + round_away(float(np.float32(1.0) / scale)))
    return low, high


def round_away(value: float) -> int:
    """Round to the nearest whole number, halves away from zero, as C's ``round``."""
    return math.floor(value + 0.5) if value >= 0 else math.ceil(value - 0.5)


def channel_records(
    biases: NDArray[np.int64], factors: Sequence[tuple[int, int]], weights: NDArray[np.int8], in_zero: int
) -> NDArray[np.int64]:
    """Return (channels, 3): bias with the input's zero point folded in, multiplier, shift.

    Args:
        biases: (channels,).
        factors: (multiplier, shift) of every channel.
        weights: (channels, taps).
        in_zero: zero point of the input.

    Raises:
        OverflowError: a folded bias is no int32.
    """
    folded = biases - in_zero * weights.astype(np.int64).sum(axis=1)
    if folded.size and not -(1 << 31) <= folded.min() <= folded.max() < 1 << 31:
        raise OverflowError("a bias with the zero point folded in needs more than 32 bits")
    return np.stack([folded, [m for m, _ in factors], [s for _, s in factors]], axis=1)


def short_is_exact(records: NDArray[np.int64], weights: NDArray[np.int8]) -> bool:
    """Whether every accumulator stays below 2^30 and every shift is to the right: the short form is exact then.

    By 22 at most, so that an output's zero point, shifted to the left by as much, can be added ahead of the shift.
    """
    reach = np.abs(records[:, 0]) + 128 * np.abs(weights.astype(np.int64)).sum(axis=1)
    return bool((reach < _LIMIT).all() and (records[:, 2] >= 1).all() and (records[:, 2] <= 22).all())
