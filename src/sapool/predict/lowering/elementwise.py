"""Activations and arithmetic, one operator or a few a call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sapool.predict.lowering.builder import Builder, Shape, Value

Rule = Callable[..., Any]


_FLOAT_ISLANDS = ("EXP", "LOG", "SQRT", "LEAKY_RELU")


def emit_unary(b: Builder, x: Value, kind: str) -> Value:
    """Emit an operator of one input that keeps the shape; what int8 has no kernel for runs in float32."""
    if kind not in _FLOAT_ISLANDS:
        return b.emit(kind, (x,), x.shape, x.last)
    number = b.emit("DEQUANTIZE", (x,), x.shape, x.last, "float32")
    return b.emit("QUANTIZE", (b.emit(kind, (number,), x.shape, x.last, "float32"),), x.shape, x.last)


# Arithmetic with a number that changes nothing; networks sum over branches starting from 0.
_NOTHING: tuple[tuple[str, Any], ...] = (("ADD", 0), ("SUB", 0), ("MUL", 1), ("DIV", 1))


def broadcast(*shapes: Shape) -> Shape:
    """Return the shape that arithmetic on ``shapes`` has."""
    longest = max(map(len, shapes))
    aligned = [(1,) * (longest - len(shape)) + shape for shape in shapes]
    return tuple(max(sides) if min(sides) > 0 else 0 for sides in zip(*aligned, strict=True))


def emit_binary(b: Builder, x: Any, y: Any, kind: str) -> Any:
    """Emit arithmetic with broadcasting; a plain number becomes a constant."""
    if (kind, y) in _NOTHING or ((kind, x) in _NOTHING and kind in ("ADD", "MUL")):
        return x if isinstance(x, Value) else y
    shapes = [value.shape if isinstance(value, Value) else () for value in (x, y)]
    shape = broadcast(*shapes)
    maps = [value for value in (x, y) if isinstance(value, Value) and len(value.shape) == 4]
    last = len(shape) == 4 and any(value.last for value in maps)
    sides = [_side(b, value, last) for value in (x, y)]
    return b.emit(kind, sides, shape, last, fusedActivationFunction=0)


def _side(b: Builder, value: Any, last: bool) -> Value | int:
    if not isinstance(value, Value):
        return b.constant((), shared=("number", float(value)))
    return b.as_last(value) if last else b.as_first(value)


def emit_silu(b: Builder, x: Value) -> Value:
    """``x sigmoid(x)``."""
    return emit_binary(b, x, emit_unary(b, x, "LOGISTIC"), "MUL")


def emit_hard_sigmoid(b: Builder, x: Value) -> Value:
    """``relu6(x + 3) / 6``."""
    clipped = emit_unary(b, emit_binary(b, x, 3.0, "ADD"), "RELU6")
    return emit_binary(b, clipped, 1 / 6, "MUL")


_CLAMPS: dict[tuple[float | None, float | None], str] = {
    (0.0, 6.0): "RELU6",
    (-1.0, 1.0): "RELU_N1_TO_1",
    (0.0, 1.0): "RELU_0_TO_1",
    (0.0, None): "RELU",
}


def emit_clamp(b: Builder, x: Value, low: float | None, high: float | None) -> Value:
    """An activation where the bounds are one's own, else a maximum and a minimum."""
    if (low, high) in _CLAMPS:
        return emit_unary(b, x, _CLAMPS[low, high])
    raised = x if low is None else emit_binary(b, x, low, "MAXIMUM")
    return raised if high is None else emit_binary(b, raised, high, "MINIMUM")


def emit_prelu(b: Builder, x: Value) -> Value:
    """``relu(x) - a relu(-x)``, as the converter writes it."""
    above = emit_unary(b, x, "RELU")
    below = b.emit("MUL", (x, b.constant((), shared=("number", -1.0))), x.shape, x.last, fusedActivationFunction=1)
    scaled = b.emit("MUL", (below, b.constant((x.shape[1],))), x.shape, x.last, fusedActivationFunction=0)
    return emit_binary(b, above, scaled, "SUB")


def emit_softmax(b: Builder, x: Value, dim: int = -1) -> Value:
    """SOFTMAX runs over the last axis; another one is brought there."""
    dim %= len(x.shape)
    if x.last:
        return b.emit("SOFTMAX", (x,), x.shape, last=True) if dim == 1 else _transposed_softmax(b, b.as_first(x), dim)
    return _transposed_softmax(b, x, dim)


def _transposed_softmax(b: Builder, x: Value, dim: int) -> Value:
    if dim == len(x.shape) - 1:
        return emit_unary(b, x, "SOFTMAX")
    order = [i for i in range(len(x.shape)) if i != dim] + [dim]
    back = [order.index(i) for i in range(len(x.shape))]
    transposed = b.emit("TRANSPOSE", (x, b.numbers(order)), tuple(x.shape[i] for i in order), last=False)
    return b.emit("TRANSPOSE", (emit_unary(b, transposed, "SOFTMAX"), b.numbers(back)), x.shape, last=False)


def emit_matmul(b: Builder, x: Value, y: Value) -> Value:
    """Matrix product of two computed tensors, or FULLY_CONNECTED with a constant one."""
    x, y = b.as_first(x), b.as_first(y)
    shape = (*broadcast(x.shape[:-2], y.shape[:-2]), x.shape[-2], y.shape[-1])
    return b.emit("BATCH_MATMUL", (x, y), shape, last=False, adjX=False, adjY=False)


UNARY = {
    "relu": "RELU",
    "relu6": "RELU6",
    "sigmoid": "LOGISTIC",
    "tanh": "TANH",
    "hardswish": "HARD_SWISH",
    "gelu": "GELU",
    "leaky_relu": "LEAKY_RELU",
    "elu": "ELU (SEVERAL)",  # the converter writes several operators, which are not known here
    "exp": "EXP",
    "log": "LOG",
    "sqrt": "SQRT",
    "rsqrt": "RSQRT",
    "neg": "NEG",
    "abs": "ABS",
}
BINARY = {
    "add": "ADD",
    "sub": "SUB",
    "mul": "MUL",
    "truediv": "DIV",
    "div": "DIV",
    "maximum": "MAXIMUM",
    "minimum": "MINIMUM",
}


def unary_rule(kind: str) -> Rule:
    """Return the rule of a unary operator, whatever further arguments a call has."""
    return lambda b, x, *_, **__: emit_unary(b, x, kind)


def binary_rule(kind: str) -> Rule:
    """Return the rule of a binary operator."""
    return partial(emit_binary, kind=kind)
