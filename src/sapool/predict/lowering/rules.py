"""Which rule lowers which module, function or method."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from sapool.layers import as_pair
from sapool.predict.lowering import attention, norms
from sapool.predict.lowering import convolution as conv
from sapool.predict.lowering import elementwise as ew
from sapool.predict.lowering import shapes as sh
from sapool.predict.lowering.builder import Builder, Value
from sapool.tflite.padding import WindowFacts

Rule = Callable[..., Any]

_SAME_VALUE = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.AlphaDropout)
MODULES: dict[type[nn.Module], Rule] = {
    nn.Conv2d: conv.lower_conv,
    nn.Linear: conv.lower_linear,
    nn.MaxPool2d: conv.lower_max_pool,
    nn.AvgPool2d: conv.lower_avg_pool,
    nn.AdaptiveAvgPool2d: conv.lower_adaptive_avg_pool,
    nn.modules.batchnorm._BatchNorm: conv.lower_norm,
    nn.LayerNorm: norms.lower_layer_norm,
    nn.GroupNorm: norms.lower_group_norm,
    nn.PReLU: lambda b, _, x: ew.emit_prelu(b, x),
    nn.Hardtanh: lambda b, m, x: ew.emit_clamp(b, x, m.min_val, m.max_val),
    nn.SiLU: lambda b, _, x: ew.emit_silu(b, x),
    nn.Hardsigmoid: lambda b, _, x: ew.emit_hard_sigmoid(b, x),
    nn.Softmax: lambda b, m, x: ew.emit_softmax(b, x, -1 if m.dim is None else m.dim),
    nn.Flatten: lambda b, m, x: sh.lower_flatten(b, x, m.start_dim, m.end_dim),
    **dict.fromkeys(_SAME_VALUE, lambda b, _, x: x),
    **{
        kind: (lambda b, _, x, name=name: ew.emit_unary(b, x, name))
        for kind, name in (
            (nn.ReLU6, "RELU6"),
            (nn.ReLU, "RELU"),
            (nn.Sigmoid, "LOGISTIC"),
            (nn.Tanh, "TANH"),
            (nn.Hardswish, "HARD_SWISH"),
            (nn.GELU, "GELU"),
            (nn.LeakyReLU, "LEAKY_RELU"),
            (nn.ELU, "ELU (SEVERAL)"),
        )
    },
}


def _keep(b: Builder, x: Any, *_: Any, **__: Any) -> Any:
    return x


def _adaptive(b: Builder, x: Value, size: Any) -> Value:
    return conv.emit_adaptive_avg_pool(b, x, (size, size) if isinstance(size, int) else tuple(size))


def _mean(b: Builder, x: Value, dim: Any = None, keepdim: bool = False, **_: Any) -> Value:
    dims = range(len(x.shape)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    return conv.emit_mean(b, x, tuple(dims), keepdim=keepdim)


def _sum(b: Builder, x: Value, dim: Any = None, keepdim: bool = False, **_: Any) -> Value:
    dims = range(len(x.shape)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    return conv.emit_mean(b, x, tuple(dims), keepdim=keepdim, kind="SUM")


def _pool(
    b: Builder, x: Value, kernel_size: Any, stride: Any = None, padding: Any = 0, *rest: Any, **more: Any
) -> Value:
    pair = as_pair
    facts = WindowFacts(
        pair(kernel_size), pair(stride or kernel_size), pair(padding), ceil_mode=bool(more.get("ceil_mode", False))
    )
    return conv.emit_pool(b, more["kind"], x, facts, counts_zeros=bool(more.get("count_include_pad", True)))


def _conv(
    b: Builder,
    x: Value,
    weight: Value,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    same = padding == "same"
    facts = WindowFacts(
        (weight.shape[2], weight.shape[3]),
        as_pair(stride),
        (0, 0) if isinstance(padding, str) else as_pair(padding),
        as_pair(dilation),
        same=same,
    )
    return conv.emit_conv(b, x, weight.shape[0], groups, facts, foldable=False, shared=weight.place)


# By name: torch, its functional module, operators and methods of tensors share them.
CALLS: dict[str, Rule] = {
    **{name: ew.unary_rule(kind) for name, kind in ew.UNARY.items()},
    **{name: ew.binary_rule(kind) for name, kind in ew.BINARY.items()},
    "square": lambda b, x: ew.emit_binary(b, x, x, "MUL"),
    "silu": lambda b, x, *_, **__: ew.emit_silu(b, x),
    "hardsigmoid": lambda b, x, *_, **__: ew.emit_hard_sigmoid(b, x),
    "hardtanh": lambda b, x, min_val=-1.0, max_val=1.0, *_, **__: ew.emit_clamp(b, x, min_val, max_val),
    "clamp": lambda b, x, min=None, max=None: ew.emit_clamp(b, x, min, max),
    "prelu": lambda b, x, *_, **__: ew.emit_prelu(b, x),
    "softmax": lambda b, x, dim=-1, *_, **__: ew.emit_softmax(b, x, dim),
    "scaled_dot_product_attention": attention.emit_attention,
    "matmul": ew.emit_matmul,
    "bmm": ew.emit_matmul,
    "cat": sh.lower_cat,
    "concat": sh.lower_cat,
    "flatten": sh.lower_flatten,
    "view": sh.lower_view,
    "reshape": sh.lower_view,
    "permute": sh.lower_permute,
    "transpose": sh.lower_transpose,
    "squeeze": sh.lower_squeeze,
    "unsqueeze": sh.lower_unsqueeze,
    "chunk": sh.lower_chunk,
    "split": sh.lower_split,
    "getitem": sh.lower_getitem,
    "expand": sh.lower_expand,
    "interpolate": sh.lower_interpolate,
    "pad": sh.lower_pad,
    "pixel_shuffle": sh.lower_pixel_shuffle,
    "layer_norm": norms.emit_layer_norm,
    "group_norm": norms.emit_group_norm,
    "mean": _mean,
    "sum": _sum,
    "adaptive_avg_pool2d": _adaptive,
    "max_pool2d": partial(_pool, kind="MAX_POOL_2D"),
    "boolean_dispatch": partial(_pool, kind="MAX_POOL_2D"),
    "avg_pool2d": partial(_pool, kind="AVERAGE_POOL_2D"),
    "conv2d": _conv,
    **dict.fromkeys(("contiguous", "clone", "dropout", "dropout2d", "to", "float", "type_as", "detach"), _keep),
}
ALIASES = {"__": "", "add_": "add", "mul_": "mul", "iadd": "add", "imul": "mul", "isub": "sub", "div_": "div"}
