"""The interpreter's fixed-point functions, in whole numbers: what tables are made of."""

from __future__ import annotations

import math

_MIN, _MAX = -(1 << 31), (1 << 31) - 1
# e^-(2^n) as a fraction of 2^31, for n = -2 to 3.
_POWERS = ((-2, 1672461947), (-1, 1302514674), (0, 790015084), (1, 290630308), (2, 39332535), (3, 720401), (4, 242))


def high_mul(a: int, b: int) -> int:
    """Return round(a b / 2^31), halves upwards."""
    return _MAX if a == b == _MIN else (a * b + (1 << 30)) >> 31


def divide_by_power(value: int, exponent: int) -> int:
    """Return round(value / 2^exponent), halves away from zero."""
    mask = (1 << exponent) - 1
    return (value >> exponent) + int((value & mask) > (mask >> 1) + int(value < 0))


def saturated(value: int) -> int:
    """Return the nearest int32."""
    return max(_MIN, min(_MAX, value))


def requantize(value: int, multiplier: int, shift: int) -> int:
    """Return value * multiplier * 2^(-31 - shift), rounded twice."""
    if shift >= 0:
        return divide_by_power(high_mul(value, multiplier), shift)
    return high_mul(value << -shift, multiplier)


def exp_of_negative(value: int, integer_bits: int) -> int:
    """Return e^value as a fraction of 2^31, for value <= 0 with so many bits before the point."""
    if value == 0:
        return _MAX
    fraction = 31 - integer_bits
    quarter = 1 << (fraction - 2)
    inside = (value & (quarter - 1)) - quarter
    result = _exp_of_last_quarter(saturated(inside << integer_bits))
    remainder = inside - value
    for exponent, factor in _POWERS:
        if integer_bits > exponent and remainder & (1 << (fraction + exponent)):
            result = high_mul(result, factor)
    return result


def _exp_of_last_quarter(value: int) -> int:
    """Return e^value for -1/4 <= value < 0, both as fractions of 2^31: a polynomial around -1/8."""
    x = value + (1 << 28)
    x2 = high_mul(x, x)
    x3 = high_mul(x2, x)
    x4_over_4 = divide_by_power(high_mul(x2, x2), 2)
    tail = divide_by_power(high_mul(x4_over_4 + x3, 715827883) + x2, 1)
    return 1895147668 + high_mul(1895147668, x + tail)


def one_over_one_plus(value: int) -> int:
    """Return 1 / (1 + value) for 0 <= value < 1, both as fractions of 2^31, by three steps of Newton."""
    half = (value + _MAX + 1) // 2
    x = 1515870810 + high_mul(half, -1010580540)
    for _ in range(3):
        rest = (1 << 29) - high_mul(half, x)
        x += saturated(high_mul(x, rest) << 2)
    return saturated(x << 1)


def inverse_root(value: int) -> tuple[int, int]:
    """Return 1 / sqrt(value) as (multiplier, shift to the left), by five steps of Newton; value is above 0."""
    if value <= 1:
        return _MAX, 0
    shift = 11
    while value >= 1 << 29:
        value //= 4
        shift += 1
    pairs = (31 - value.bit_length()) // 2 - 1
    shift -= pairs
    scaled = (value << (2 * pairs)) >> 1
    half, x = divide_by_power(scaled, 1), 1 << 28
    for _ in range(5):
        cube = saturated(high_mul(high_mul(x, x), x) << 6)
        x = saturated((high_mul((1 << 28) + (1 << 27), x) - high_mul(half, cube)) << 3)
    x = high_mul(x, 1518500250)
    return (x << -shift, 0) if shift < 0 else (x, -shift)


def quotient(a: int, b: int, multiplier: int, shift: int) -> int:
    """Return a / b * multiplier * 2^(-31 - shift) as the interpreter divides; b is not 0."""
    if b < 0:
        a, b = -a, -b
    zeros = 32 - b.bit_length()
    inverse = one_over_one_plus((b << zeros) - (1 << 31))
    headroom = 31 - a.bit_length() if a >= 0 else 32 - (2 * -a - 1).bit_length()
    scaled = high_mul(high_mul(a << headroom, inverse), multiplier)
    exponent = headroom + 31 - zeros + shift
    if exponent > 31:  # what the interpreter's rounding makes of such a shift
        return (scaled >> (exponent & 31)) + int(scaled >= 0)
    return divide_by_power(scaled, max(exponent, 0))


def logistic(value: int) -> int:
    """Return 1 / (1 + e^-value) as a fraction of 2^31, for a value with 4 bits before the point."""
    if value == 0:
        return 1 << 30
    positive = one_over_one_plus(exp_of_negative(-abs(value), 4))
    return positive if value > 0 else _MAX - positive


def tanh(value: int) -> int:
    """Return the hyperbolic tangent as a fraction of 2^31, for a value with 4 bits before the point."""
    if value == 0:
        return 0
    decay = exp_of_negative(-abs(value), 5)  # the same bits read as twice the value
    half = (decay + _MAX + 1) // 2
    x = 1515870810 + high_mul(half, -1010580540)
    for _ in range(3):
        rest = (1 << 29) - high_mul(half, x)
        x += saturated(high_mul(x, rest) << 2)
    positive = saturated((x - (1 << 29)) << 2)
    return positive if value > 0 else -positive


def exponentials(scale: float, beta: float) -> list[int]:
    """Return e^(-d scale beta) as fractions of 2^31 for d = 0, 1, ... up to where the interpreter takes 0 for it."""
    bits = 5
    real = min(beta * scale * (1 << (31 - bits)), (1 << 31) - 1.0)
    mantissa, exponent = math.frexp(real)
    factor = math.floor(mantissa * (1 << 31) + 0.5)
    if factor == 1 << 31:
        factor, exponent = factor // 2, exponent + 1
    limit = math.floor(((1 << bits) - 1) * (1 << (31 - bits)) / (1 << exponent)) if exponent >= 0 else 255
    differences = range(min(limit, 255) + 1)
    return [exp_of_negative(_scaled(-d, factor, exponent), bits) for d in differences]


def _scaled(difference: int, factor: int, exponent: int) -> int:
    return high_mul(saturated(difference << exponent), factor)
