"""Multipliers of scales, clamps of activations, folded biases, and the proof of the short requantisation."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from sapool.firmware.requantize import (
    channel_records,
    clamp_range,
    float32_product,
    multiplier,
    round_away,
    short_is_exact,
)
from sapool.tflite.graph import Quantization, Tensor
from tests.firmware.kernels import oracle


def quantised(scale: float, zero: int) -> Tensor:
    return Tensor("t", (1, 4), "int8", Quantization((scale,), (zero,)))


def test_a_multiplier_is_the_nearest_fraction_of_31_bits() -> None:
    for real in np.random.default_rng(0).uniform(1e-6, 4.0, 500):
        factor, shift = multiplier(float(real))
        assert 1 << 30 <= factor < 1 << 31
        unit = Fraction(2) ** (-31 - shift)
        assert abs(factor * unit - Fraction(float(real))) <= unit / 2


def test_the_ends_of_multipliers() -> None:
    assert multiplier(0.0) == (0, 0)
    assert multiplier(1.0) == (1 << 30, -1)
    assert multiplier(math.nextafter(1.0, 0.0)) == (1 << 30, -1)  # rounds up to a power of two
    assert multiplier(2.0**-40) == (0, 0)
    assert multiplier(2.0**40) == ((1 << 31) - 1, -30)


def test_a_float32_product_forgets_what_float32_does_not_hold() -> None:
    exact = float(np.float32(0.1)) * float(np.float32(0.3))  # 48 bits: a float64 holds them
    assert float32_product(0.1, 0.3) == float(np.float32(exact))
    assert float32_product(0.1, 0.3) != 0.1 * 0.3


@pytest.mark.parametrize(
    ("activation", "clamp"),
    [("NONE", (-128, 127)), ("RELU", (-10, 127)), ("RELU6", (-10, 50)), ("RELU_N1_TO_1", (-20, 0))],
)
def test_clamps(activation: str, clamp: tuple[int, int]) -> None:
    assert clamp_range(activation, quantised(0.1, -10)) == clamp


def test_a_clamp_stays_in_int8() -> None:
    assert clamp_range("RELU6", quantised(0.001, 100)) == (100, 127)
    assert clamp_range("RELU_N1_TO_1", quantised(0.001, 0)) == (-128, 127)


def test_halves_are_rounded_away_from_zero() -> None:
    assert [round_away(v) for v in (-2.5, -0.5, -0.4, 0.4, 0.5, 2.5)] == [-3, -1, 0, 0, 1, 3]


def test_the_zero_point_of_the_input_is_folded_into_the_bias() -> None:
    rng = np.random.default_rng(3)
    weights = rng.integers(-128, 128, (3, 20)).astype(np.int8)
    biases, taken = rng.integers(-1000, 1000, 3), rng.integers(-128, 128, 20)
    records = channel_records(biases, [(1 << 30, 3)] * 3, weights, in_zero=-7)
    right = biases + ((taken + 7) * weights.astype(np.int64)).sum(1)
    np.testing.assert_array_equal(records[:, 0] + weights.astype(np.int64) @ taken, right)
    np.testing.assert_array_equal(records[:, 1:], [[1 << 30, 3]] * 3)


def test_a_folded_bias_must_be_an_int32() -> None:
    with pytest.raises(OverflowError, match="32 bits"):
        channel_records(np.array([(1 << 31) - 1]), [(1 << 30, 3)], np.array([[1]], np.int8), in_zero=-1)


def short(total: int, factor: int, shift: int, zero: int) -> int:
    """Return what the short form makes of an accumulator, without the clamp."""
    value = (2 * total * factor + (1 << 31)) >> 32  # of the accumulator, doubled: one instruction
    value += value >> 31
    return ((value >> (shift - 1)) + 1 + 2 * zero) >> 1


def record(bias: int, shift: int) -> NDArray[np.int64]:
    return np.array([[bias, (1 << 31) - 1, shift]])


@pytest.mark.parametrize("shift", [1, 2, 5, 13, 22])
def test_the_short_form_is_the_long_one_where_it_says_so(shift: int) -> None:
    weights = np.full((1, 2), -128, np.int8)
    bias = (1 << 30) - 1 - 2 * 128 * 128
    assert short_is_exact(record(bias, shift), weights)
    rng = np.random.default_rng(shift)
    edges = [sign * ((1 << 30) - 1 - n) for n in range(3) for sign in (-1, 1)]
    middles = [(2 * n + 1) << shift for n in range(-40, 40)] + list(range(-300, 300))
    for total in [*edges, *middles, *rng.integers(-(1 << 30) + 1, 1 << 30, 1500).tolist()]:
        for factor in (1 << 30, (1 << 31) - 1, int(rng.integers(1 << 30, 1 << 31))):
            long = oracle.requantize(total, factor, -shift) - 5
            got = short(total, factor, shift, -5)
            assert np.clip(got, -128, 127) == np.clip(long, -128, 127), (total, factor)


def test_the_short_form_is_refused_where_an_accumulator_may_reach_its_limit() -> None:
    weights = np.array([[-128, 127]], np.int8)
    reach = 128 * (128 + 127)
    assert short_is_exact(record((1 << 30) - 1 - reach, 5), weights)
    assert not short_is_exact(record((1 << 30) - reach, 5), weights)
    assert not short_is_exact(record(reach - (1 << 30), 5), weights)


@pytest.mark.parametrize(("shift", "exact"), [(-1, False), (0, False), (1, True), (22, True), (23, False)])
def test_the_short_form_takes_shifts_to_the_right(shift: int, exact: bool) -> None:
    assert short_is_exact(record(0, shift), np.ones((1, 4), np.int8)) is exact
