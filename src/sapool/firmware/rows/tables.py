"""Functions of one int8 value, and chains of them: one table of 256 bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sapool.firmware import fixed_point
from sapool.firmware.requantize import clamp_range, multiplier, round_away
from sapool.firmware.rows.lower import Lowering
from sapool.firmware.rows.parts import Blob, Layer, UnsupportedError
from sapool.tflite.graph import Operator, Tensor

Values = NDArray[np.generic]
_BYTES = ("int8", "uint8")


@dataclass(frozen=True)
class Chain:
    """A tensor as a function of another: ``operators`` in order, the first reads ``start``."""

    start: int
    operators: tuple[Operator, ...]


def is_unary(state: Lowering, op: Operator) -> bool:
    """Whether an operator is a function of one computed value: alone, or with one number."""
    if op.kind in FUNCTIONS:
        return True
    if op.kind not in BINARY:
        return False
    constants = [t for t in op.inputs[:2] if state.is_constant(t)]
    return len(constants) == 1 and math.prod(state.tensor(constants[0]).shape) == 1


def given(state: Lowering, op: Operator) -> int:
    """Return the computed tensor that a function reads."""
    return next(state.root(t) for t in op.inputs if t >= 0 and not state.is_constant(t))


def chain_of(state: Lowering, op: Operator) -> Chain:
    """Return the longest chain of functions that ends with an operator.

    It goes back through float tensors always, and through int8 ones that nothing else reads.
    """
    chain = [op]
    start = given(state, op)
    while (maker := state.graph.maker(start)) is not None and is_unary(state, maker):
        tensor = state.tensor(start)
        if tensor.dtype in _BYTES and not _read_once(state, start):
            break
        chain.insert(0, maker)
        start = given(state, maker)
    return Chain(start, tuple(chain))


def _read_once(state: Lowering, tensor: int) -> bool:
    views = [t for t in range(len(state.graph.tensors)) if state.root(t) == tensor]
    if any(view in state.graph.outputs for view in views):
        return False
    readers = [place for view in views for place in state.graph.readers(view)]
    return len([p for p in readers if state.graph.operators[p].outputs[0] not in views]) == 1


def look_table(state: Lowering, op: Operator) -> tuple[int, ...]:
    """Name the tensor that the chain of functions reads; for other operators, their own inputs."""
    return (chain_of(state, op).start,) if is_unary(state, op) else op.inputs


def lower_table(state: Lowering, op: Operator) -> None:
    """Any row by a table, in place."""
    chain = chain_of(state, op)
    start, out = state.tensor(chain.start), state.tensor(op.outputs[0])
    for tensor in (start, out):
        if tensor.dtype not in _BYTES:
            raise UnsupportedError(f"{tensor.dtype} activations; float only between DEQUANTIZE and QUANTIZE")
    for one in chain.operators:
        if one.kind in _FLOAT_ONLY and state.tensor(one.inputs[0]).dtype in _BYTES:
            raise UnsupportedError("of int8 values: only of float ones, between DEQUANTIZE and QUANTIZE")
    rows = state.rows_of(chain.start)
    read = state.read_rows(chain.start, rows, rows)
    count = out.bytes // rows
    layer = partial(_layer, state, chain, start, count)
    state.add_step(op, "table", (read,), rows, layer, in_place=(0,))


def _layer(state: Lowering, chain: Chain, start: Tensor, count: int) -> Layer:
    values: Values = np.arange(-128, 128, dtype=np.int8) if start.dtype == "int8" else np.arange(256).astype(np.uint8)
    for op in chain.operators:
        values = evaluate(state, op, values)
    if start.dtype == "uint8":
        values = np.roll(values, 128)  # the kernel looks a byte up by its value as int8
    return Layer("sapool_table", (Blob("int8_t", values.view(np.int8), "table"), count))


def evaluate(state: Lowering, op: Operator, values: Values) -> Values:
    """Return an operator's results (n,) for values (n,) of its computed input."""
    out = state.tensor(op.outputs[0])
    function = FUNCTIONS.get(op.kind) or BINARY[op.kind]
    result = function(state, op, values)
    if out.dtype in _BYTES:
        low, high = (-128, 127) if out.dtype == "int8" else (0, 255)
        return np.clip(result, low, high).astype(out.dtype)
    return result.astype(np.float32)


Function = Callable[[Lowering, Operator, Values], Values]


def _quantize(state: Lowering, op: Operator, values: Values) -> Values:
    taken, out = state.tensor(op.inputs[0]), state.tensor(op.outputs[0])
    if taken.dtype not in _BYTES:
        scaled = values.astype(np.float32) / np.float32(out.scale)
        away = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)).astype(np.float64)
        away = np.where(np.abs(scaled) >= 2**23, scaled, _round_half_away(scaled))
        return np.clip(away + out.zero_point, -(2**31), 2**31 - 1).astype(np.int64)
    return _requantized(values, taken, out)


def _round_half_away(values: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = values.astype(np.float64)
    return np.sign(exact) * np.floor(np.abs(exact) + 0.5)


def _requantized(values: Values, taken: Tensor, out: Tensor) -> Values:
    factor = multiplier(taken.scale / out.scale)
    got = [fixed_point.requantize(int(v) - taken.zero_point, *factor) + out.zero_point for v in values]
    return np.array(got, np.int64)


def _dequantize(state: Lowering, op: Operator, values: Values) -> Values:
    taken = state.tensor(op.inputs[0])
    offsets = (values.astype(np.int64) - taken.zero_point).astype(np.float32)
    return (np.float32(taken.scale) * offsets).astype(np.float32)


def _logistic(state: Lowering, op: Operator, values: Values) -> Values:
    return _sigmoidal(state, op, values, fixed_point.logistic, 8, -128)


def _tanh(state: Lowering, op: Operator, values: Values) -> Values:
    return _sigmoidal(state, op, values, fixed_point.tanh, 7, 0)


def _sigmoidal(
    state: Lowering, op: Operator, values: Values, function: Callable[[int], int], bits: int, zero: int
) -> Values:
    taken = state.tensor(op.inputs[0])
    if taken.dtype not in _BYTES:
        real = values.astype(np.float32)
        return np.tanh(real) if bits == 7 else (1 / (1 + np.exp(-real))).astype(np.float32)
    mantissa, exponent = math.frexp(taken.scale * (1 << 27))
    factor = math.floor(mantissa * (1 << 31) + 0.5)
    radius = math.floor(15 * (1 << 27) / 2.0**exponent)
    got = []
    for value in values:
        centered = int(value) - taken.zero_point
        if abs(centered) >= radius:
            got.append(127 if centered > 0 else -128)
            continue
        inside = fixed_point.requantize(centered, factor, -exponent)
        got.append(fixed_point.divide_by_power(function(inside), 31 - bits) + zero)
    return np.array(got, np.int64)


def _relu(state: Lowering, op: Operator, values: Values) -> Values:
    taken, out = state.tensor(op.inputs[0]), state.tensor(op.outputs[0])
    if taken.dtype not in _BYTES:
        high = {"RELU6": 6.0, "RELU_N1_TO_1": 1.0}.get(op.kind, math.inf)
        return np.clip(values, -1.0 if op.kind == "RELU_N1_TO_1" else 0.0, high)
    low, high_q = clamp_range(op.kind, out)
    if op.kind == "RELU6":
        # The kernel only clamps: both tensors have one quantisation.
        return np.clip(values, taken.zero_point, taken.zero_point + round_away(float(np.float32(6) / taken.scale)))
    return np.clip(_requantized(values, taken, out), low, high_q)


def _leaky(state: Lowering, op: Operator, values: Values) -> Values:
    taken, out = state.tensor(op.inputs[0]), state.tensor(op.outputs[0])
    alpha = op.options.number("alpha")
    if taken.dtype not in _BYTES:
        real = values.astype(np.float32)
        return np.where(real > 0, real, real * np.float32(alpha))
    up = multiplier(taken.scale / out.scale)
    down = multiplier(taken.scale * alpha / out.scale)
    got = []
    for value in values:
        centered = int(value) - taken.zero_point
        got.append(out.zero_point + fixed_point.requantize(centered, *(up if centered >= 0 else down)))
    return np.array(got, np.int64)


def _hard_swish(state: Lowering, op: Operator, values: Values) -> Values:
    taken, out = state.tensor(op.inputs[0]), state.tensor(op.outputs[0])
    if taken.dtype not in _BYTES:
        real = values.astype(np.float32)
        return real * np.clip(real + 3, 0, 6) / np.float32(6)
    hires = taken.scale / 128.0
    out16, out_shift = _to_16(multiplier(_float32(hires) / out.scale))
    relu16, relu_shift = _to_16(multiplier(_float32(hires) / _float32(3.0 / 32768.0)))
    return np.array([_hard_swish_one(int(v), taken, out, (out16, out_shift, relu16, relu_shift)) for v in values])


def _float32(value: float) -> float:
    return float(np.float32(value))


def _to_16(factor: tuple[int, int]) -> tuple[int, int]:
    fixed, shift = factor
    return (32767 if fixed > 32767 * 65536 else (fixed + (1 << 15)) >> 16), shift


def _hard_swish_one(value: int, taken: Tensor, out: Tensor, factors: tuple[int, int, int, int]) -> int:
    out16, out_shift, relu16, relu_shift = factors
    hires = (value - taken.zero_point) << 7
    on_out = _high_mul_16(hires, out16)
    gate = hires
    if relu_shift < 0:
        gate = _saturate_16(gate << (-relu_shift - 1))
    gate = _high_mul_16(gate, relu16)
    if relu_shift < 0:
        gate = _saturate_16(gate << 1)
    if relu_shift > 0:
        gate = fixed_point.divide_by_power(gate, relu_shift)
    gate = (gate + (1 << 15)) >> 1
    # The gate's product truncates where the others round.
    product = (on_out * gate) >> 15 if on_out * gate >= 0 else -((-on_out * gate) >> 15)
    return fixed_point.divide_by_power(product, max(out_shift, 0)) + out.zero_point


def _saturate_16(value: int) -> int:
    return max(-32768, min(32767, value))


def _high_mul_16(a: int, b: int) -> int:
    return 32767 if a == b == -32768 else int((a * b + ((1 << 14) if a * b >= 0 else 1 - (1 << 14))) / (1 << 15))


def _rsqrt(state: Lowering, op: Operator, values: Values) -> Values:
    taken, out = state.tensor(op.inputs[0]), state.tensor(op.outputs[0])
    if taken.dtype not in _BYTES:
        return (1 / np.sqrt(values.astype(np.float32))).astype(np.float32)
    real = np.float32(np.sqrt(np.float32(taken.scale))) * np.float32(out.scale)
    factor, shift = multiplier(1.0 / float(real))
    got = []
    for value in values:
        centered = int(value) - taken.zero_point
        if centered <= 0:  # 0 is the largest, below it TFLM stops
            got.append(127)
            continue
        root, left = fixed_point.inverse_root(centered)
        data = fixed_point.requantize(1, root, -(left + 20))
        got.append(fixed_point.requantize(data, factor, shift + 20) + out.zero_point)
    return np.array(got, np.int64)


def _number(state: Lowering, op: Operator) -> tuple[Tensor, float, int]:
    """Return the constant operand, its value in the file's own units, and its place among the inputs."""
    place = 0 if state.is_constant(op.inputs[0]) else 1
    held = state.tensor(state.root(op.inputs[place]))
    values = held.values
    return held, 0.0 if values is None else float(values.reshape(-1)[0]), place


def _binary(state: Lowering, op: Operator, values: Values) -> Values:
    """Return ADD, SUB or MUL with one number."""
    held, number, place = _number(state, op)
    taken, out = state.tensor(given(state, op)), state.tensor(op.outputs[0])
    if taken.dtype not in _BYTES:
        real, other = values.astype(np.float32), np.float32(number)
        a, b = (other, real) if place == 0 else (real, other)
        return _OF_FLOATS[op.kind](a, b)
    if op.kind in ("MINIMUM", "MAXIMUM"):
        return _OF_FLOATS[op.kind](values.astype(np.int64), int(number))
    low, high = clamp_range(op.options.activation, out)
    if op.kind == "DIV":
        return np.clip(_quotients(state, op, values, place), low, high)
    if op.kind == "MUL":
        factor = multiplier(state.tensor(op.inputs[0]).scale * state.tensor(op.inputs[1]).scale / out.scale)
        rest = int(number) - held.zero_point
        got = [fixed_point.requantize((int(v) - taken.zero_point) * rest, *factor) + out.zero_point for v in values]
    else:
        signs = (1, 1) if op.kind == "ADD" else (-1, 1) if place == 0 else (1, -1)
        rest, tensors = int(number) - held.zero_point, (taken, held, out)
        got = [_sum(int(v) - taken.zero_point, rest, tensors, signs) for v in values]
    return np.clip(np.array(got, np.int64), low, high)


_OF_FLOATS: Mapping[str, Callable[..., Values]] = {
    "ADD": np.add,
    "SUB": np.subtract,
    "MUL": np.multiply,
    "DIV": np.divide,
    "MINIMUM": np.minimum,
    "MAXIMUM": np.maximum,
}


def _quotients(state: Lowering, op: Operator, values: Values, place: int) -> Values:
    """Return DIV by a number, or of a number (``place`` 0) by values; TFLM stops where a divisor is 0."""
    held, number, _ = _number(state, op)
    taken, out = state.tensor(given(state, op)), state.tensor(op.outputs[0])
    one, other = (state.tensor(t).scale for t in op.inputs[:2])
    factor = multiplier(one / (other * out.scale))
    rest, got = int(number) - held.zero_point, []
    for value in values:
        centered = int(value) - taken.zero_point
        a, b = (rest, centered) if place == 0 else (centered, rest)
        got.append(fixed_point.quotient(a, b or 1, *factor) + out.zero_point)
    return np.array(got, np.int64)


def _sum(one: int, other: int, tensors: tuple[Tensor, Tensor, Tensor], signs: tuple[int, int]) -> int:
    """Return ADD of two centered values, or SUB with one sign of -1."""
    taken, held, out = tensors
    twice = 2 * max(taken.scale, held.scale)
    left = fixed_point.requantize(one << 20, *multiplier(taken.scale / twice))
    right = fixed_point.requantize(other << 20, *multiplier(held.scale / twice))
    total = signs[0] * left + signs[1] * right
    return fixed_point.requantize(total, *multiplier(twice / ((1 << 20) * out.scale))) + out.zero_point


def _float(function: Callable[[NDArray[np.float32]], Values]) -> Function:
    """Return a function of float values alone."""

    def apply(state: Lowering, op: Operator, values: Values) -> Values:
        return function(values.astype(np.float32))

    return apply


FUNCTIONS: Mapping[str, Function] = {
    "QUANTIZE": _quantize,
    "DEQUANTIZE": _dequantize,
    "LOGISTIC": _logistic,
    "TANH": _tanh,
    "RELU": _relu,
    "RELU6": _relu,
    "RELU_N1_TO_1": _relu,
    "LEAKY_RELU": _leaky,
    "HARD_SWISH": _hard_swish,
    "EXP": _float(np.exp),
    "ABS": _float(np.abs),
    "NEG": _float(np.negative),
    "SQRT": _float(np.sqrt),
    "RSQRT": _rsqrt,
    "SQUARE": _float(np.square),
    "LOG": _float(np.log),
    "SIN": _float(np.sin),
    "COS": _float(np.cos),
    "FLOOR": _float(np.floor),
    "CEIL": _float(np.ceil),
    "ROUND": _float(np.round),
}
_FLOAT_ONLY = frozenset({"EXP", "ABS", "NEG", "SQRT", "SQUARE", "LOG", "SIN", "COS", "FLOOR", "CEIL", "ROUND"})
BINARY: Mapping[str, Function] = dict.fromkeys(("ADD", "SUB", "MUL", "DIV", "MINIMUM", "MAXIMUM"), _binary)
