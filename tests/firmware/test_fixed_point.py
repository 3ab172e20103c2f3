"""The fixed-point functions against gemmlowp's definitions in whole numbers, and against what they approximate."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sapool.firmware import fixed_point
from tests.firmware.kernels import oracle

TOP = (1 << 31) - 1
EDGES = (-(1 << 31), -(1 << 31) + 1, -(1 << 30) - 1, -(1 << 30), -3, -1, 0, 1, 2, 1 << 30, TOP - 1, TOP)


def pairs(count: int = 3000) -> list[tuple[int, int]]:
    drawn = np.random.default_rng(0).integers(-(1 << 31), 1 << 31, (count, 2))
    return [(a, b) for a in EDGES for b in EDGES] + [(int(a), int(b)) for a, b in drawn]


def test_high_mul_is_the_saturating_rounding_doubling_product() -> None:
    for a, b in pairs():
        nudged = a * b + ((1 << 30) if a * b >= 0 else 1 - (1 << 30))
        whole = abs(nudged) // (1 << 31) * (1 if nudged >= 0 else -1)  # C's division drops the rest
        assert fixed_point.high_mul(a, b) == min(whole, TOP), (a, b)


def test_divide_by_power_rounds_halves_away_from_zero() -> None:
    for value, _ in pairs(300):
        for exponent in (0, 1, 2, 7, 30, 31):
            away = (2 * abs(value) + (1 << exponent)) // (2 << exponent)
            assert fixed_point.divide_by_power(value, exponent) == math.copysign(away, value), (value, exponent)


def test_requantize_is_the_product_by_a_quantized_multiplier() -> None:
    rng = np.random.default_rng(1)
    for value, factor, shift in zip(
        rng.integers(-(1 << 21), 1 << 21, 2000),
        rng.integers(1 << 30, 1 << 31, 2000),
        rng.integers(-9, 31, 2000),
        strict=True,
    ):
        numbers = (int(value), int(factor), int(shift))
        assert fixed_point.requantize(*numbers) == oracle.requantize(numbers[0], numbers[1], -numbers[2]), numbers


def test_saturated_is_the_nearest_int32() -> None:
    assert [fixed_point.saturated(v) for v in (-(1 << 40), -5, TOP, 1 << 31)] == [-(1 << 31), -5, TOP, TOP]


@pytest.mark.parametrize("bits", [4, 5])
def test_exp_of_negative(bits: int) -> None:
    assert fixed_point.exp_of_negative(0, bits) == TOP
    for real in np.linspace(-(2**bits) + 0.01, -1e-6, 400):
        value = math.floor(real * (1 << (31 - bits)))
        got = fixed_point.exp_of_negative(value, bits) / (1 << 31)
        assert got == pytest.approx(math.exp(value / (1 << (31 - bits))), abs=5e-7)


def test_one_over_one_plus() -> None:
    for real in np.linspace(0, 0.999999, 400):
        got = fixed_point.one_over_one_plus(math.floor(real * (1 << 31))) / (1 << 31)
        assert got == pytest.approx(1 / (1 + real), abs=3e-8)


def test_inverse_root() -> None:
    for value in (2, 3, 4, 5, 17, 100, 255, 256, 65535, 1 << 20, (1 << 29) - 1, 1 << 29, TOP):
        factor, left = fixed_point.inverse_root(value)
        assert factor * 2.0 ** (left - 31) == pytest.approx(1 / math.sqrt(value), rel=2e-6), value
    assert fixed_point.inverse_root(1) == (TOP, 0)


def test_quotient_divides_and_scales() -> None:
    for a in range(-255, 256, 17):
        for b in (*range(-255, 0, 19), *range(1, 256, 19)):
            for factor, shift in ((1 << 30, -3), (1518500250, 2)):
                right = a / b * factor * 2.0 ** (-31 - shift)
                if abs(right) < 1:
                    continue  # the interpreter shifts by 32 bits and more there
                assert fixed_point.quotient(a, b, factor, shift) == pytest.approx(right, abs=0.5001), (a, b)


def test_logistic_and_tanh() -> None:
    for real in np.linspace(-15.9, 15.9, 401):
        value = math.floor(real * (1 << 27))
        exact = value / (1 << 27)
        assert fixed_point.logistic(value) / (1 << 31) == pytest.approx(1 / (1 + math.exp(-exact)), abs=5e-7)
        assert fixed_point.tanh(value) / (1 << 31) == pytest.approx(math.tanh(exact), abs=2e-7)


def test_exponentials_end_where_nothing_is_left() -> None:
    for scale, beta in ((0.1, 1.0), (0.02, 1.0), (1.5, 1.0), (0.1, 2.0)):
        table = fixed_point.exponentials(scale, beta)
        step = 2.0 ** math.ceil(math.log2(scale * beta))  # e^-31 is nothing, and a step is taken for a power of two
        assert len(table) == min(256, math.floor(31 / step) + 1)
        for difference, value in enumerate(table):
            assert value / (1 << 31) == pytest.approx(math.exp(-difference * scale * beta), abs=1e-6)
