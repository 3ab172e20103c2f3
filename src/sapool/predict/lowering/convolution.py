"""Convolutions, linear layers, pools and normalisations."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from sapool.layers import as_pair
from sapool.predict.lowering.builder import Builder, Shape, Value
from sapool.tflite.padding import SAME, VALID, Pair, WindowFacts, folded_kernel, tensorflow_padding


def lower_conv(b: Builder, conv: nn.Conv2d, x: Value, stride: Pair | None = None) -> Value:
    """Emit a convolution of a map (N, C, H, W), with a PAD where TensorFlow can't pad as PyTorch does.

    ``stride`` stands for the convolution's own.
    """
    facts = WindowFacts(
        as_pair(conv.kernel_size),
        stride or as_pair(conv.stride),
        (0, 0) if isinstance(conv.padding, str) else as_pair(conv.padding),
        as_pair(conv.dilation),
        same=conv.padding == "same" or type(conv).__name__.endswith("Same"),
    )
    plain = type(conv) is nn.Conv2d and conv.padding_mode == "zeros"
    return emit_conv(b, x, conv.out_channels, conv.groups, facts, foldable=plain)


def emit_conv(
    b: Builder,
    x: Value,
    out_channels: int,
    groups: int,
    facts: WindowFacts,
    *,
    foldable: bool = True,
    shared: Any = None,
) -> Value:
    """Emit CONV_2D or DEPTHWISE_CONV_2D; ``shared`` tells the weights that several have in common."""
    x = b.as_last(x)
    size: Pair = (x.shape[2], x.shape[3])
    shape = (x.shape[0], out_channels, *facts.output_size(size))
    kernel = facts.kernel
    padding = SAME if facts.same else tensorflow_padding(size, kernel, facts.stride, facts.padding, facts.dilation)
    if padding is None:
        folded = (
            folded_kernel(size, kernel, facts.stride, facts.padding)
            if foldable and b.fold_padding and facts.dilation == (1, 1)
            else None
        )
        if folded is None:
            x, padding = emit_pad(b, x, facts.padding, facts.padding), VALID
        else:
            kernel, padding = folded, SAME
    zeros = (kernel[0] - facts.kernel[0], kernel[1] - facts.kernel[1])
    depthwise = groups == x.shape[1] and groups > 1
    weights = (1, *kernel, out_channels) if depthwise else (out_channels, *kernel, x.shape[1] // groups)
    options: dict[str, Any] = {
        "padding": padding,
        "strideH": facts.stride[0],
        "strideW": facts.stride[1],
        "dilationHFactor": facts.dilation[0],
        "dilationWFactor": facts.dilation[1],
        "fusedActivationFunction": 0,
    }
    if depthwise:
        options["depthMultiplier"] = out_channels // groups
    constants = (
        b.constant(weights, channels=out_channels, zeros=zeros, shared=shared and ("weights", shared)),
        b.constant((out_channels,), "int32", channels=out_channels, shared=shared and ("bias", shared)),
    )
    kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    return b.emit(kind, (x, *constants), shape, last=True, **options)


def emit_pad(b: Builder, x: Value, before: Pair, after: Pair, kind: str = "PAD") -> Value:
    """Emit a PAD of a map's rows and columns; PADV2 has the value as a third input."""
    x = b.as_last(x)
    n, c, h, w = x.shape
    shape = (n, c, h + before[0] + after[0], w + before[1] + after[1])
    table = (0, 0, before[0], after[0], before[1], after[1], 0, 0)
    amounts = b.constant((4, 2), "int32", channels=0, shared=("padding", *table), numbers=table)
    value = (b.constant((), shared=None),) if kind == "PADV2" else ()
    return b.emit(kind, (x, amounts, *value), shape, last=True)


def lower_linear(b: Builder, linear: nn.Linear, x: Value) -> Value:
    """Emit FULLY_CONNECTED over the last axis."""
    x = b.as_first(x) if len(x.shape) != 4 or math.prod(x.shape[2:]) > 1 else x
    out = linear.out_features
    # The converter drops a bias of zeros, which an untrained classifier has.
    biased = linear.bias is not None and (linear.bias.is_meta or bool(linear.bias.any()))
    bias = b.constant((out,), "int32", channels=out) if biased else -1
    weights = b.constant((out, linear.in_features), channels=out)
    options: dict[str, Any] = {"fusedActivationFunction": 0, "keepNumDims": True}
    return b.emit("FULLY_CONNECTED", (x, weights, bias), (*x.shape[:-1], out), last=False, **options)


def lower_max_pool(b: Builder, pool: nn.MaxPool2d, x: Value) -> Value:
    """Emit MAX_POOL_2D."""
    stride = pool.stride if pool.stride is not None else pool.kernel_size
    facts = WindowFacts(
        as_pair(pool.kernel_size), as_pair(stride), as_pair(pool.padding), as_pair(pool.dilation), bool(pool.ceil_mode)
    )
    return emit_pool(b, "MAX_POOL_2D", x, facts)


def lower_avg_pool(b: Builder, pool: nn.AvgPool2d, x: Value) -> Value:
    """Emit AVERAGE_POOL_2D."""
    stride = pool.stride if pool.stride is not None else pool.kernel_size
    facts = WindowFacts(as_pair(pool.kernel_size), as_pair(stride), as_pair(pool.padding), ceil_mode=pool.ceil_mode)
    return emit_pool(b, "AVERAGE_POOL_2D", x, facts, counts_zeros=pool.count_include_pad)


def emit_pool(b: Builder, kind: str, x: Value, facts: WindowFacts, *, counts_zeros: bool = False) -> Value:
    """Emit a max or average pool; ``counts_zeros``: padding enters the average."""
    x = b.as_last(x)
    size: Pair = (x.shape[2], x.shape[3])
    rows, columns = facts.output_size(size)
    shape = (*x.shape[:2], rows, columns)
    padding: int | None = tensorflow_padding(size, facts.kernel, facts.stride, facts.padding)
    if padding == SAME and counts_zeros:
        padding = None
    if padding is None or facts.ceil_mode:
        short = [
            max((n_out - 1) * s + k - n - p, 0)
            for n_out, s, k, n, p in zip((rows, columns), facts.stride, facts.kernel, size, facts.padding, strict=True)
        ]
        if max(*facts.padding, *short) > 0:
            pad = "PADV2" if kind == "MAX_POOL_2D" else "PAD"
            x = emit_pad(b, x, facts.padding, (short[0], short[1]) if facts.ceil_mode else facts.padding, pad)
        padding = VALID
    options: dict[str, Any] = {
        "padding": padding,
        "strideH": facts.stride[0],
        "strideW": facts.stride[1],
        "filterHeight": facts.kernel[0],
        "filterWidth": facts.kernel[1],
        "fusedActivationFunction": 0,
    }
    return b.emit(kind, (x,), shape, last=True, **options)


def lower_adaptive_avg_pool(b: Builder, pool: nn.AdaptiveAvgPool2d, x: Value) -> Value:
    """Emit MEAN for one value a channel, else an average pool (a network's size is a multiple of it)."""
    wanted = pool.output_size
    return emit_adaptive_avg_pool(b, x, (wanted, wanted) if wanted is None or isinstance(wanted, int) else wanted)


def emit_adaptive_avg_pool(b: Builder, x: Value, wanted: tuple[int | None, ...]) -> Value:
    """Emit MEAN or AVERAGE_POOL_2D."""
    x = b.as_last(x)
    rows, columns = (n if side is None else side for n, side in zip(x.shape[2:], wanted, strict=True))
    if (rows, columns) == x.shape[2:]:
        return x
    if rows == columns == 1:
        return emit_mean(b, x, (2, 3), keepdim=True)
    if x.shape[2] % rows or x.shape[3] % columns:  # windows of unequal sizes: some gather of as many numbers
        return b.emit("RESIZE_BILINEAR", (x, b.numbers((rows, columns))), (*x.shape[:2], rows, columns), last=True)
    kernel = (x.shape[2] // rows, x.shape[3] // columns)
    return emit_pool(b, "AVERAGE_POOL_2D", x, WindowFacts(kernel, kernel))


def emit_mean(b: Builder, x: Value, axes: Pair | tuple[int, ...], *, keepdim: bool, kind: str = "MEAN") -> Value:
    """Emit MEAN (or SUM, ...) over PyTorch's ``axes``."""
    chosen = sorted(axis % len(x.shape) for axis in axes)
    shape: Shape = tuple(1 if i in chosen else n for i, n in enumerate(x.shape) if keepdim or i not in chosen)
    held = sorted(_CHANNEL_LAST[axis] for axis in chosen) if x.last else chosen
    last = x.last and keepdim
    return b.emit(kind, (x, b.numbers(held)), shape, last=last, keepDims=keepdim)


_CHANNEL_LAST = {0: 0, 1: 3, 2: 1, 3: 2}


def lower_norm(b: Builder, norm: Any, x: Value) -> Value:
    """Emit a batch normalisation with known statistics; it is folded or written out when the graph is finished."""
    channels = x.shape[1]
    shape = (1, 1, 1, channels) if x.last else (1, channels, *(1 for _ in x.shape[2:]))
    return b.emit("NORM", (x, b.constant(shape)), x.shape, x.last)
