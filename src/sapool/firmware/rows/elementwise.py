"""ADD, SUB, MUL, DIV, MINIMUM, MAXIMUM and PRELU of two tensors, row by row, and in place."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sapool.firmware.requantize import clamp_range, multiplier
from sapool.firmware.rows.lower import Lowering, natural_rows
from sapool.firmware.rows.parts import Layer, Read, UnsupportedError
from sapool.tflite.graph import Operator, Tensor


@dataclass(frozen=True)
class Repeat:
    """How the second operand lies under the first: ``b[(i / inner) % period]``."""

    inner: int
    period: int


def repeat_of(whole: tuple[int, ...], small: tuple[int, ...]) -> Repeat | None:
    """Return how a tensor repeats under a whole one; None where it takes two loops or more."""
    padded = (1,) * (len(whole) - len(small)) + small
    kept = [axis for axis, (w, s) in enumerate(zip(whole, padded, strict=True)) if s == w and w > 1]
    if not kept:
        return Repeat(math.prod(whole), 1)
    first, last = kept[0], kept[-1]
    if any(padded[axis] != whole[axis] for axis in range(first, last + 1)):
        return None
    return Repeat(math.prod(whole[last + 1 :]), math.prod(whole[first : last + 1]))


@dataclass(frozen=True)
class Pair:
    """Two operands: ``a`` has the output's shape, ``b`` lies under it."""

    a: int
    b: int
    swapped: bool
    repeat: Repeat


def operands(state: Lowering, op: Operator) -> Pair:
    """Return the operands with the whole one first.

    Raises:
        UnsupportedError: neither has the output's shape, or the other repeats in two loops.
    """
    shape = state.tensor(op.outputs[0]).shape
    one, other = op.inputs[:2]
    for a, b, swapped in ((one, other, False), (other, one, True)):
        repeat = repeat_of(shape, state.tensor(b).shape)
        if math.prod(state.tensor(a).shape) == math.prod(shape) and not state.is_constant(a) and repeat is not None:
            return Pair(a, b, swapped, repeat)
    shapes = f"{state.tensor(one).shape} and {state.tensor(other).shape}"
    raise UnsupportedError(f"operands that repeat in several loops, {shapes}")


def _rows(state: Lowering, pair: Pair, shape: tuple[int, ...]) -> tuple[int, tuple[Read, Read], Repeat]:
    """Return the rows of the output, the reads and how b repeats inside a row."""
    rows, repeat = state.rows_of(pair.a), pair.repeat
    row = math.prod(shape) // rows
    block = repeat.inner * repeat.period
    if math.prod(shape) % rows == 0 and block == math.prod(shape) and row % repeat.inner == 0:
        # b has rows of its own under those of a
        b_row = row // repeat.inner
        second = _second(state, pair.b, rows, b_row * rows)
        return rows, (state.read_rows(pair.a, rows, rows), second), Repeat(repeat.inner, b_row)
    if row % block:
        rows = next(n for n in (natural_rows(shape), 1) if (math.prod(shape) // n) % block == 0)
    return rows, (state.read_rows(pair.a, rows, rows), state.read_all(pair.b, rows)), repeat


def _second(state: Lowering, b: int, rows: int, count: int) -> Read:
    if state.is_constant(b):
        return Read(-1, (), (), rows, count // rows, constant=state.blob(b))
    return state.read_rows(b, rows, rows)


def lower_elementwise(state: Lowering, op: Operator) -> None:
    """Row y needs row y of both; a constant or a smaller operand repeats."""
    out = state.tensor(op.outputs[0])
    dtypes = [state.tensor(t).dtype for t in (*op.inputs[:2], *op.outputs)]
    if dtypes != ["int8"] * 3:
        raise UnsupportedError(f"takes int8, got {', '.join(dtypes)}")
    pair = operands(state, op)
    rows, reads, repeat = _rows(state, pair, out.shape)
    kernel, make = _KINDS[op.kind]
    row = out.bytes // rows
    places = tuple(n for n, read in enumerate(reads) if read.store >= 0 and not read.flat and read.row_bytes == row)
    state.add_step(
        op,
        kernel,
        reads,
        rows,
        lambda: make(state, op, pair, repeat, row),
        in_place=places if repeat.inner == 1 else places[:1],
    )


def _shape(state: Lowering, op: Operator, pair: Pair, repeat: Repeat, row: int) -> tuple[tuple[int, ...], Tensor]:
    out = state.tensor(op.outputs[0])
    low, high = clamp_range(op.options.activation, out)
    zeros = (state.tensor(pair.a).zero_point, state.tensor(pair.b).zero_point, out.zero_point)
    return (row, min(repeat.inner, row), repeat.period, *zeros, low, high), out


def _mul_layer(state: Lowering, op: Operator, pair: Pair, repeat: Repeat, row: int) -> Layer:
    shape, out = _shape(state, op, pair, repeat, row)
    factor = multiplier(state.tensor(op.inputs[0]).scale * state.tensor(op.inputs[1]).scale / out.scale)
    return Layer("sapool_mul", (*shape, *factor))


def _add_layer(state: Lowering, op: Operator, pair: Pair, repeat: Repeat, row: int) -> Layer:
    shape, out = _shape(state, op, pair, repeat, row)
    a, b = state.tensor(pair.a).scale, state.tensor(pair.b).scale
    twice = 2 * max(a, b)
    (am, ashift), (bm, bshift) = multiplier(a / twice), multiplier(b / twice)
    om, oshift = multiplier(twice / ((1 << 20) * out.scale))
    if oshift < 0:
        raise UnsupportedError("an output scale that TFLM refuses")
    if op.kind == "SUB":
        am, bm = (-am, bm) if pair.swapped else (am, -bm)
    return Layer("sapool_add", (*shape, am, bm, om, ashift, bshift, oshift))


def _div_layer(state: Lowering, op: Operator, pair: Pair, repeat: Repeat, row: int) -> Layer:
    shape, out = _shape(state, op, pair, repeat, row)
    one, other = (state.tensor(t).scale for t in op.inputs[:2])
    return Layer("sapool_div", (*shape, *multiplier(one / (other * out.scale)), int(pair.swapped)))


def _extremum_layer(state: Lowering, op: Operator, pair: Pair, repeat: Repeat, row: int) -> Layer:
    shape, _ = _shape(state, op, pair, repeat, row)
    return Layer("sapool_extremum", (*shape[:3], int(op.kind == "MAXIMUM")))


def _prelu_layer(state: Lowering, op: Operator, pair: Pair, repeat: Repeat, row: int) -> Layer:
    if pair.swapped:
        raise UnsupportedError("slopes larger than what they are for")
    shape, out = _shape(state, op, pair, repeat, row)
    taken, slopes = (state.tensor(t).scale for t in op.inputs[:2])
    factors = (*multiplier(taken / out.scale), *multiplier(taken * slopes / out.scale))
    return Layer("sapool_prelu", (*shape[:6], *factors))


_KINDS: Mapping[str, tuple[str, Callable[[Lowering, Operator, Pair, Repeat, int], Layer]]] = {
    "ADD": ("add", _add_layer),
    "SUB": ("add", _add_layer),
    "MUL": ("mul", _mul_layer),
    "DIV": ("div", _div_layer),
    "MINIMUM": ("extremum", _extremum_layer),
    "MAXIMUM": ("extremum", _extremum_layer),
    "PRELU": ("prelu", _prelu_layer),
}
