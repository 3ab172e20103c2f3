"""Two operands: how the smaller lies under the larger by NumPy's broadcasting, factors by what they stand for."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from sapool.firmware import fixed_point
from sapool.firmware.rows import Step, UnsupportedError
from sapool.firmware.rows.elementwise import repeat_of
from tests.firmware.random_networks import Maker
from tests.firmware.rows.build import integers, network, one_step, quantised, steps_of

WHOLE = (1, 4, 3, 5)
FOUR = [(1, *sides) for sides in product((1, 4), (1, 3), (1, 5))]
IN_TWO_LOOPS, IN_THE_MIDDLE = (1, 4, 1, 5), (1, 1, 3, 1)
SMALL = [*FOUR, (5,), (3, 5), (3, 1), ()]


def under(small: tuple[int, ...]) -> list[int]:
    """Return which value of a small tensor lies under each of the whole one."""
    count = int(np.prod(small))
    return np.broadcast_to(np.arange(count).reshape(small), WHOLE).reshape(-1).tolist()


@pytest.mark.parametrize("small", SMALL, ids=str)
def test_repeats_are_those_of_broadcasting(small: tuple[int, ...]) -> None:
    wanted, count = under(small), int(np.prod(small))
    repeat = repeat_of(WHOLE, small)
    if repeat is None:
        for inner in range(1, len(wanted) + 1):  # no single loop does it
            assert [(i // inner) % count for i in range(len(wanted))] != wanted
    else:
        assert [(i // repeat.inner) % repeat.period for i in range(len(wanted))] == wanted


def computed(make: Maker, source: int, small: tuple[int, ...]) -> int:
    """Return a tensor of a small shape that is computed from the source."""
    axes = [axis for axis, (w, s) in enumerate(zip(WHOLE, small, strict=True)) if s < w]
    out = make.tensor(small, quantised(0.1))
    make.add("REDUCE_MAX", (source, make.constant(np.array(axes, np.int32))), (out,), "ReducerOptions", keepDims=True)
    return out


def values_under(step: Step, small: tuple[int, ...]) -> list[int]:
    """Return which value of the second operand each value of the output meets, by the step's rows and layer."""
    row, inner, period = integers(step.layer())[:3]
    met = []
    second = step.reads[1]
    for task in range(step.tasks):
        part = np.arange(int(np.prod(small))).reshape(second.rows, -1)[task if second.rows > 1 else 0]
        met += [int(part[(i // inner) % period]) for i in range(row)]
    return met


MET = [(s, c) for s in FOUR[1:] for c in (True, False) if s != IN_TWO_LOOPS and (c or s != IN_THE_MIDDLE)]


@pytest.mark.parametrize(("small", "constant"), MET, ids=str)
def test_every_value_meets_its_partner(small: tuple[int, ...], constant: bool) -> None:
    make, source = network(WHOLE)
    if constant:
        other = make.constant(make.rng.integers(-9, 9, small).astype(np.int8), quantised(0.1))
    else:
        other = make.conv(source, kernel=1, channels=5, stride=1) if small == WHOLE else computed(make, source, small)
    out = make.pair("ADD", source, other)
    step = steps_of(make, out).steps[-1]
    assert step.kind == "add"
    assert values_under(step, small) == under(small)
    assert set(step.in_place) <= {0, 1}
    if constant or small != WHOLE:
        assert 1 not in step.in_place


def test_operands_that_repeat_in_two_loops_are_refused() -> None:
    make, source = network(WHOLE)
    other = make.constant(make.rng.integers(-9, 9, IN_TWO_LOOPS).astype(np.int8), quantised(0.1))
    with pytest.raises(UnsupportedError, match="repeat in several loops"):
        steps_of(make, make.pair("ADD", source, other))


def pair(kind: str, swapped: bool, out_scale: float, table: str = "AddOptions") -> Step:
    """Return a step of x and a constant of one a channel."""
    make, source = network(WHOLE, scale=0.03, zero=5)
    other = make.constant(np.array([3, -7, 11, 20, 1], np.int8), quantised(0.05, -2))
    out = make.tensor(WHOLE, quantised(out_scale, 9))
    return one_step(make, kind, (other, source) if swapped else (source, other), out, table)


@pytest.mark.parametrize(("kind", "swapped", "signs"), [("ADD", 0, (1, 1)), ("SUB", 0, (1, -1)), ("SUB", 1, (-1, 1))])
def test_sums_stand_for_real_sums(kind: str, swapped: int, signs: tuple[int, int]) -> None:
    layer = integers(pair(kind, bool(swapped), 0.08).layer())
    a_zero, b_zero, out_zero, low, high, am, bm, om, a_shift, b_shift, o_shift = layer[3:]
    assert (a_zero, b_zero, out_zero, low, high) == (5, -2, 9, -128, 127)
    for a, b in product(range(-128, 128, 17), (3, -7, 11, 20, 1)):
        left = fixed_point.requantize((a - 5) << 20, am, a_shift)
        right = fixed_point.requantize((b + 2) << 20, bm, b_shift)
        got = fixed_point.requantize(left + right, om, o_shift)
        real = signs[0] * (a - 5) * 0.03 + signs[1] * (b + 2) * 0.05
        assert got == pytest.approx(real / 0.08, abs=0.501)


@pytest.mark.parametrize(
    ("kind", "swapped", "scale"),
    [("MUL", False, 0.03 * 0.05), ("MUL", True, 0.03 * 0.05), ("DIV", False, 0.03 / 0.05), ("DIV", True, 0.05 / 0.03)],
)
def test_factors_of_products_and_quotients(kind: str, swapped: bool, scale: float) -> None:
    layer = integers(pair(kind, swapped, 0.02, f"{kind.title()}Options").layer())
    factor, shift = layer[8:10]
    assert factor * 2.0 ** (-31 - shift) == pytest.approx(scale / 0.02, rel=1e-6)
    assert layer[10:] == ([int(swapped)] if kind == "DIV" else [])


def test_slopes_and_extremes() -> None:
    layer = integers(pair("PRELU", False, 0.02, "").layer())
    up, up_shift, down, down_shift = layer[6:]
    assert up * 2.0 ** (-31 - up_shift) == pytest.approx(0.03 / 0.02, rel=1e-6)
    assert down * 2.0 ** (-31 - down_shift) == pytest.approx(0.03 * 0.05 / 0.02, rel=1e-6)
    assert [integers(pair(kind, False, 0.03).layer())[-1] for kind in ("MINIMUM", "MAXIMUM")] == [0, 1]
    with pytest.raises(UnsupportedError, match="slopes larger"):
        pair("PRELU", True, 0.02, "").layer()
