"""Attention over tokens."""

from __future__ import annotations

from typing import Any

from sapool.predict.lowering.builder import Builder, Value
from sapool.predict.lowering.elementwise import emit_matmul, emit_unary
from sapool.predict.lowering.shapes import emit_reshape


def emit_attention(b: Builder, query: Value, key: Value, value: Value, **_: Any) -> Value:
    """``F.scaled_dot_product_attention`` of (N, heads, L, d), with every score; the scale is in the weights."""
    heads, length, width = query.shape[1], query.shape[2], query.shape[3]
    keys = key.shape[2]
    query, value = (emit_reshape(b, side, (heads, side.shape[2], width)) for side in (query, value))
    transposed = b.emit("TRANSPOSE", (key, b.numbers((0, 1, 3, 2))), (1, heads, width, keys), last=False)
    scores = emit_matmul(b, query, emit_reshape(b, transposed, (heads, width, keys)))
    made = emit_matmul(b, emit_unary(b, scores, "SOFTMAX"), value)
    return emit_reshape(b, made, (1, heads, length, width))
