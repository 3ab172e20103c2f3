"""Tables of functions and of chains against the functions' own formulas in floating point."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from sapool.firmware.rows import Step, UnsupportedError
from sapool.firmware.rows.tables import BINARY, FUNCTIONS
from sapool.tflite.graph import Quantization
from sapool.tflite.options import OptionValue
from tests.firmware.rows.build import arrays, network, one_step, quantised, steps_of

Reals = NDArray[np.floating]
SHAPE = (1, 4, 4, 2)
IN = quantised(0.05, -20)
CODES = np.arange(-128, 128)
REALS = (CODES + 20) * 0.05


def table_of(step: Step) -> NDArray[np.int64]:
    """Return what every int8 value becomes."""
    (table,) = arrays(step.layer())
    assert len(table) == 256
    return table.astype(np.int64)


def wanted(real: Reals, out: Quantization) -> Reals:
    return np.clip(real / out.scales[0] + out.zero_points[0], -128, 127)


@pytest.mark.parametrize(
    ("kind", "function", "out", "options"),
    [
        ("LOGISTIC", lambda x: 1 / (1 + np.exp(-x)), quantised(1 / 256, -128), {}),
        ("TANH", np.tanh, quantised(1 / 128, 0), {}),
        ("RELU", lambda x: np.maximum(x, 0), quantised(0.04, -128), {}),
        ("RELU6", lambda x: np.clip(x, 0, 6), IN, {}),
        ("RELU_N1_TO_1", lambda x: np.clip(x, -1, 1), quantised(0.01, 0), {}),
        ("LEAKY_RELU", lambda x: np.where(x > 0, x, 0.1 * x), quantised(0.04, -100), {"alpha": 0.1}),
        ("HARD_SWISH", lambda x: x * np.clip(x + 3, 0, 6) / 6, quantised(0.04, -110), {}),
        ("QUANTIZE", lambda x: x, quantised(0.07, 3), {}),
    ],
)
def test_functions_of_int8(
    kind: str, function: Callable[[Reals], Reals], out: Quantization, options: dict[str, OptionValue]
) -> None:
    make, source = network(SHAPE, scale=0.05, zero=-20)
    step = one_step(make, kind, (source,), make.tensor(SHAPE, out), "AnyOptions", **options)
    assert step.kind == "table"
    assert step.in_place == (0,)
    allowed = 1.01 if kind in ("HARD_SWISH", "TANH", "LOGISTIC") else 0.76  # rounded twice
    assert np.abs(table_of(step) - wanted(function(REALS), out)).max() <= allowed


def test_rsqrt() -> None:
    make, source = network(SHAPE, scale=0.05, zero=-128)
    out = quantised(0.04, -128)
    table = table_of(one_step(make, "RSQRT", (source,), make.tensor(SHAPE, out)))
    assert np.abs(table[1:] - wanted(1 / np.sqrt((CODES[1:] + 128) * 0.05), out)).max() <= 0.51


FLOATS: dict[str, Callable[[Reals], Reals]] = {
    "EXP": np.exp,
    "ABS": np.abs,
    "NEG": np.negative,
    "SQUARE": np.square,
    "SIN": np.sin,
    "COS": np.cos,
    "FLOOR": np.floor,
    "CEIL": np.ceil,
    "ROUND": np.round,
}


@pytest.mark.parametrize("kind", FLOATS)
def test_a_chain_through_floats_is_one_table(kind: str) -> None:
    make, source = network(SHAPE, scale=0.05, zero=-20)
    real, made = make.tensor(SHAPE, dtype="float32"), make.tensor(SHAPE, dtype="float32")
    make.add("DEQUANTIZE", (source,), (real,))
    make.add(kind, (real,), (made,))
    out = quantised(0.06, 4)
    table = table_of(one_step(make, "QUANTIZE", (made,), make.tensor(SHAPE, out)))
    right = FLOATS[kind](REALS.astype(np.float32).astype(float))
    off = np.abs(table - wanted(right, out))
    # 0.05 steps meet whole numbers: a last bit more or less is another floor
    assert np.sort(off)[-14:-13] <= 0.51 if kind in ("FLOOR", "CEIL", "ROUND") else off.max() <= 0.51


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    ("kind", "function", "scale"),
    [("ADD", np.add, 0.06), ("SUB", np.subtract, 0.06), ("MUL", np.multiply, 0.1), ("DIV", np.divide, 0.05)],
)
def test_arithmetic_with_a_number(kind: str, function: Callable[..., Reals], scale: float, swapped: bool) -> None:
    make, source = network(SHAPE, scale=0.05, zero=-20)
    number = make.constant(np.array(30, np.int8), quantised(0.04, -10))  # 1.6
    out = quantised(scale, 7)
    inputs = (number, source) if swapped else (source, number)
    table = table_of(one_step(make, kind, inputs, make.tensor(SHAPE, out), f"{kind.title()}Options"))
    safe = CODES != -20 if kind == "DIV" and swapped else np.full(256, True)  # nothing is divided by 0
    reals = np.where(safe, REALS, 1.0)
    right = wanted(function(1.6, reals) if swapped else function(reals, 1.6), out)
    off = np.abs(table - right)[safe]
    if kind == "DIV":  # quotients below the interpreter's smallest shift are its own
        off = off[np.abs(right[safe] - 7) >= 1]
    assert off.max() <= 1.01


@pytest.mark.parametrize(("kind", "function"), [("MINIMUM", np.minimum), ("MAXIMUM", np.maximum)])
def test_extremes_with_a_number(kind: str, function: Callable[..., Reals]) -> None:
    make, source = network(SHAPE, scale=0.05, zero=-20)
    number = make.constant(np.array(30, np.int8), IN)
    step = one_step(make, kind, (source, number), make.tensor(SHAPE, IN), "MaximumMinimumOptions")
    np.testing.assert_array_equal(table_of(step), function(CODES, 30))


def test_bytes_without_a_sign_are_looked_up_by_their_bits() -> None:
    make, source = network(SHAPE, scale=0.05, zero=128, dtype="uint8")
    table = table_of(one_step(make, "QUANTIZE", (source,), make.tensor(SHAPE, quantised(0.05, 0))))
    bytes_ = np.arange(256, dtype=np.uint8)
    places = bytes_.view(np.int8).astype(int) + 128
    np.testing.assert_array_equal(table[places], bytes_.astype(int) - 128)


def test_a_tensor_that_others_read_too_ends_a_chain() -> None:
    make, source = network(SHAPE)
    first, second = make.tensor(SHAPE, quantised(0.05)), make.tensor(SHAPE, quantised(0.05))
    make.add("RELU", (source,), (first,))
    make.add("LEAKY_RELU", (first,), (second,), "LeakyReluOptions", alpha=0.5)
    assert len(steps_of(make, second).steps) == 1
    program = steps_of(make, first, second)
    assert [step.reads[0].store for step in program.steps] == [program.source, program.outputs[0]]


def test_floats_outside_of_chains_and_float_functions_of_int8_are_refused() -> None:
    make, source = network(SHAPE)
    real = make.tensor(SHAPE, dtype="float32")
    make.add("DEQUANTIZE", (source,), (real,))
    with pytest.raises(UnsupportedError, match="float only between DEQUANTIZE and QUANTIZE"):
        steps_of(make, real)
    make, source = network(SHAPE)
    out = make.tensor(SHAPE)
    make.add("EXP", (source,), (out,))
    with pytest.raises(UnsupportedError, match="only of float ones"):
        steps_of(make, out)


def test_every_function_has_a_formula() -> None:
    assert set(FLOATS) < set(FUNCTIONS)
    assert set(BINARY) == {"ADD", "SUB", "MUL", "DIV", "MINIMUM", "MAXIMUM"}
