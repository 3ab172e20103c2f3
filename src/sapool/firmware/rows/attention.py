"""BATCH_MATMUL of computed tensors, and SOFTMAX."""

from __future__ import annotations

import math

import numpy as np

from sapool.firmware.fixed_point import exponentials
from sapool.firmware.requantize import clamp_range, float32_product, multiplier
from sapool.firmware.rows.lower import Lowering
from sapool.firmware.rows.parts import Blob, Layer, Read, UnsupportedError
from sapool.firmware.scratch import matmul_tiles
from sapool.tflite.graph import Operator

_LINES = 8  # of scores that exist at a time, where that costs nothing else


def _turned(state: Lowering, tensor: int) -> int | None:
    """Return what a TRANSPOSE turned, as matrices, to make a tensor, if one did."""
    maker = state.graph.maker(state.root(tensor))
    if maker is None or maker.kind != "TRANSPOSE" or state.is_constant(maker.inputs[0]):
        return None
    order, shape = state.tensor(maker.inputs[1]).integers, state.tensor(tensor).shape
    given = state.tensor(maker.inputs[0]).shape
    straight = tuple(range(len(order)))
    if shape[-2:] == state.tensor(maker.outputs[0]).shape[-2:] and order == (*straight[:-2], *straight[:-3:-1]):
        return maker.inputs[0]
    # One matrix whose sides are several axes: the first ones moved behind the others.
    wide = [axis for axis in order if given[axis] > 1]
    first = wide.index(min(wide)) if wide else 0
    sides = (math.prod(given[axis] for axis in wide[:first]), math.prod(given[axis] for axis in wide[first:]))
    rotated = wide[first:] + wide[:first] == sorted(wide)
    return maker.inputs[0] if first and rotated and shape[-2:] == sides and math.prod(shape[:-2]) == 1 else None


def _right(state: Lowering, op: Operator) -> tuple[int, bool]:
    """Return the right operand, and whether its rows are the product's columns."""
    turned = _turned(state, op.inputs[1])
    by_rows = op.options.flag("adjY") or op.kind == "FULLY_CONNECTED"
    return (op.inputs[1], by_rows) if turned is None else (turned, not by_rows)


def look_matmul(state: Lowering, op: Operator) -> tuple[int, ...]:
    """Name the tensors that a product reads."""
    return (op.inputs[0], _right(state, op)[0])


def lower_matmul(state: Lowering, op: Operator) -> None:
    """Rows of the left operand times the whole right one."""
    left, (right, by_rows) = op.inputs[0], _right(state, op)
    out, operand = state.tensor(op.outputs[0]), state.tensor(op.inputs[1]).shape
    if [state.tensor(t).dtype for t in (left, right, op.outputs[0])] != ["int8"] * 3 or op.options.flag("adjX"):
        raise UnsupportedError("takes int8 operands, the left one not turned")
    if state.is_constant(left):
        raise UnsupportedError("a constant left operand")
    columns = out.shape[-1]
    depth = math.prod(operand[-2:]) // columns
    lines = math.prod(out.shape[:-1])
    batches = math.prod(operand[:-2])
    if batches > 1 and batches != lines // out.shape[-2]:
        raise UnsupportedError("batches that repeat")
    rows = state.rows_of(left)
    if lines % rows or rows % batches:
        rows = lines
    rows = _finer(state, left, lines, rows)
    right_read = _batched(state, right, rows, batches)
    shape = (lines // rows, columns, depth, *((depth, 1) if by_rows else (1, columns)))
    state.add_step(
        op,
        "matmul",
        (state.read_rows(left, rows, rows), right_read),
        rows,
        lambda: _matmul_layer(state, op, right, shape),
        tiles=matmul_tiles(shape[0], depth, state.core),
        macs=lines * columns * depth,
    )


def _finer(state: Lowering, left: int, lines: int, rows: int) -> int:
    """Return in how many rows a product is made whose left operand is whole anyway: a few lines of scores at a time."""
    store = state.store(left)
    maker = next((step for step in reversed(state.program.steps) if step.output == store), None)
    if maker is None or maker.kind != "move" or not any(read.whole for read in maker.reads):
        return rows
    while lines // rows > _LINES and lines // rows % 2 == 0:
        rows *= 2
    return rows


def lower_computed_weights(state: Lowering, op: Operator) -> None:
    """FULLY_CONNECTED of two computed tensors: a product whose right operand's rows are its columns."""
    bias = state.tensor(op.inputs[2]).values if len(op.inputs) > 2 and op.inputs[2] >= 0 else None
    if bias is not None and bias.any():
        raise UnsupportedError("computed weights with a bias")
    if clamp_range(op.options.activation, state.tensor(op.outputs[0])) != (-128, 127):
        raise UnsupportedError("computed weights with an activation")
    lower_matmul(state, op)


def _batched(state: Lowering, right: int, rows: int, batches: int) -> Read:
    """Return the read of the right operand: all of it, or the batch that a row belongs to."""
    whole = state.read_all(right, rows)
    if batches == 1:
        return whole
    return Read(whole.store, whole.low, whole.high, batches, whole.row_bytes // batches, True, whole.constant)


def _matmul_layer(state: Lowering, op: Operator, right: int, shape: tuple[int, ...]) -> Layer:
    a, b, out = state.tensor(op.inputs[0]), state.tensor(right), state.tensor(op.outputs[0])
    factor = multiplier(float32_product(a.scale, b.scale) / out.scale)
    return Layer("sapool_matmul", (*shape, a.zero_point, b.zero_point, out.zero_point, *factor, 0))


def lower_softmax(state: Lowering, op: Operator) -> None:
    """Every line along the last axis for itself, in place."""
    taken, out = state.tensor(op.inputs[0]), state.tensor(op.outputs[0])
    if (taken.dtype, out.dtype) != ("int8", "int8"):
        raise UnsupportedError(f"takes int8, got {taken.dtype}")
    if (out.zero_point, round(out.scale * 256, 3)) != (-128, 1):
        raise UnsupportedError("an output that is not quantised as 1/256 with zero point -128")
    depth = taken.shape[-1]
    lines, rows = math.prod(taken.shape) // depth, state.rows_of(op.inputs[0])
    rows = rows if lines % rows == 0 else lines
    read = state.read_rows(op.inputs[0], rows, rows)
    state.add_step(
        op,
        "softmax",
        (read,),
        rows,
        lambda: _softmax_layer(state, op, lines // rows, depth),
        in_place=() if read.flat else (0,),
    )


def _softmax_layer(state: Lowering, op: Operator, lines: int, depth: int) -> Layer:
    table = exponentials(state.tensor(op.inputs[0]).scale, op.options.number("beta", 1.0))
    return Layer("sapool_softmax", (Blob("int32_t", np.array(table), "exponentials"), lines, depth, len(table)))
