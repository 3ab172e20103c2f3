"""Which operators the C engine has, and how each becomes steps."""

from __future__ import annotations

from collections.abc import Mapping

from sapool.firmware.rows.attention import look_matmul, lower_computed_weights, lower_matmul, lower_softmax
from sapool.firmware.rows.convolution import (
    look_through_pad,
    lower_convolution,
    lower_depthwise,
    lower_fully_connected,
)
from sapool.firmware.rows.elementwise import lower_elementwise
from sapool.firmware.rows.enlarging import look_transposed, lower_bilinear, lower_transposed
from sapool.firmware.rows.lower import Look, Lower, Lowering
from sapool.firmware.rows.moves import MOVES, look_move, lower_move
from sapool.firmware.rows.pools import lower_mean, lower_pool
from sapool.firmware.rows.tables import BINARY, FUNCTIONS, is_unary, look_table, lower_table
from sapool.tflite.graph import Operator


def _lower_binary(state: Lowering, op: Operator) -> None:
    (lower_table if is_unary(state, op) else lower_elementwise)(state, op)


def _lower_fully_connected(state: Lowering, op: Operator) -> None:
    constant = state.is_constant(op.inputs[1])
    (lower_fully_connected if constant else lower_computed_weights)(state, op)


def _look_fully_connected(state: Lowering, op: Operator) -> tuple[int, ...]:
    return op.inputs if state.is_constant(op.inputs[1]) else look_matmul(state, op)


LOWERED: Mapping[str, Lower] = {
    "PRELU": lower_elementwise,
    "TRANSPOSE_CONV": lower_transposed,
    "RESIZE_BILINEAR": lower_bilinear,
    "REDUCE_MAX": lower_mean,
    "CONV_2D": lower_convolution,
    "DEPTHWISE_CONV_2D": lower_depthwise,
    "FULLY_CONNECTED": _lower_fully_connected,
    "BATCH_MATMUL": lower_matmul,
    "SOFTMAX": lower_softmax,
    "AVERAGE_POOL_2D": lower_pool,
    "MAX_POOL_2D": lower_pool,
    "MEAN": lower_mean,
    "SUM": lower_mean,
    **dict.fromkeys(FUNCTIONS, lower_table),
    **dict.fromkeys(BINARY, _lower_binary),
    **dict.fromkeys(MOVES, lower_move),
}
# What an operator reads where that is not just its inputs: it looks through what melts into it.
LOOKS: Mapping[str, Look] = {
    "CONV_2D": look_through_pad,
    "DEPTHWISE_CONV_2D": look_through_pad,
    "BATCH_MATMUL": look_matmul,
    "FULLY_CONNECTED": _look_fully_connected,
    "TRANSPOSE_CONV": look_transposed,
    **dict.fromkeys(FUNCTIONS, look_table),
    **dict.fromkeys(BINARY, look_table),
    **dict.fromkeys(MOVES, look_move),
}
