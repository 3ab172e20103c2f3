"""Normalisations over the map or the channels, written out as the converter writes them."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from sapool.predict.lowering.builder import Builder, Value
from sapool.predict.lowering.convolution import emit_mean
from sapool.predict.lowering.elementwise import emit_binary, emit_unary
from sapool.predict.lowering.shapes import emit_reshape


def lower_layer_norm(b: Builder, norm: nn.LayerNorm, x: Value) -> Value:
    """``nn.LayerNorm``."""
    (width, *more) = norm.normalized_shape
    over_channels = not more and x.last and x.shape[1] == width
    if over_channels and not (type(norm) is nn.LayerNorm and x.shape[-1] == width):
        n, c, h, w = x.shape
        normed = emit_layer_norm(b, Value(x.place, (n, h, w, c)), (width,))
        return Value(normed.place, x.shape, last=True)
    return emit_layer_norm(b, x, norm.normalized_shape)


def emit_layer_norm(b: Builder, x: Value, normalized_shape: Any, *_: Any, **__: Any) -> Value:
    """``F.layer_norm`` over the last axes; weight and bias go into the layer behind it."""
    x = b.as_first(x)
    width = math.prod(normalized_shape)
    rows = math.prod(x.shape) // width
    flat = emit_reshape(b, x, (1, rows, width))
    mean = emit_mean(b, flat, (2,), keepdim=False)
    spread = emit_binary(b, flat, emit_reshape(b, mean, (1, rows, 1)), "SQUARED_DIFFERENCE")
    inverse = emit_unary(b, emit_binary(b, emit_mean(b, spread, (2,), keepdim=False), 1e-6, "ADD"), "RSQRT")
    shift = emit_binary(b, 0.0, emit_binary(b, inverse, mean, "MUL"), "SUB")
    scaled = emit_binary(b, flat, emit_reshape(b, inverse, (1, rows, 1)), "MUL")
    normed = emit_binary(b, scaled, emit_reshape(b, shift, (1, rows, 1)), "ADD")
    return emit_reshape(b, normed, x.shape)


def lower_group_norm(b: Builder, norm: nn.GroupNorm, x: Value) -> Value:
    """``nn.GroupNorm``."""
    return emit_group_norm(b, x, norm.num_groups)


def emit_group_norm(b: Builder, x: Value, groups: int, *_: Any, **__: Any) -> Value:
    """``F.group_norm`` and ``F.instance_norm`` (a group a channel), on the map as PyTorch lays it out."""
    x = b.as_first(x)
    n, channels = x.shape[:2]
    flat = emit_reshape(b, x, (n, groups, channels // groups, math.prod(x.shape[2:])))
    mean = emit_mean(b, flat, (2, 3), keepdim=True)
    off = emit_binary(b, flat, mean, "SUB")
    spread = emit_mean(b, emit_binary(b, off, off, "MUL"), (2, 3), keepdim=False)
    inverse = emit_unary(b, emit_reshape(b, emit_binary(b, spread, 1e-5, "ADD"), (n, groups, 1, 1)), "RSQRT")
    shift = emit_binary(b, emit_binary(b, mean, -1.0, "MUL"), inverse, "MUL")
    if groups == channels:
        return emit_binary(b, emit_binary(b, x, inverse, "MUL"), shift, "ADD")
    normed = emit_binary(b, emit_binary(b, flat, inverse, "MUL"), shift, "ADD")
    return emit_reshape(b, normed, x.shape)
