"""Large maps in inference on a CPU: one image at a time, band after band of its rows.

Attention rows are independent once keys and values are known, and everything else is local, so a band of rows can go
from x to the output before the next begins. The same function; but what a band needs stays in the cache, where whole
maps of this size go to memory and back a dozen times (``benchmarks/pooling_speed.py``: the time a pixel).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sapool.layers.attention import LearnedPosition2d, TokenAttention
from sapool.layers.cpu.tiles import has_hooks
from sapool.layers.weighted import reduce_before_weighting

if TYPE_CHECKING:
    from sapool.layers.self_attentive import SelfAttentivePool2d

# Bytes of one image's tokens from which on bands are faster, and bytes of a band's.
LARGE_MAP = 8 << 20
BAND = 2 << 20


def worth_bands(pool: SelfAttentivePool2d, x: Tensor) -> bool:
    """Whether ``x`` (N, C, H, W) is so large, and the pool so plain, that bands are right and faster."""
    window = pool.window
    if (
        torch.is_grad_enabled()
        or torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or not _is_steady(pool)
    ):
        return False
    plain = window.is_tiling and window.form != "general" and pool.restoration == "nearest" and pool.border == "pad"
    if not plain or pool.combine != "weight" or x.device.type != "cpu" or not x.is_contiguous():
        return False
    tokens = x.shape[2] * x.shape[3] / math.prod(pool.patch_size)
    return tokens * pool.attention.query.in_features * x.element_size() > LARGE_MAP


def _is_steady(pool: SelfAttentivePool2d) -> bool:
    """Whether a band sees what the whole map would: no part trains, none normalises by the map, nobody looks on."""
    parts = list(pool.modules())
    stock = type(pool.attention) is TokenAttention and type(pool.position) in (LearnedPosition2d, type(None))
    norms = [part for part in parts if isinstance(part, nn.BatchNorm2d)]
    return (
        stock
        and all(norm.running_mean is not None for norm in norms)
        and not any(part.training or has_hooks(part) for part in parts)
    )


def pool_in_bands(pool: SelfAttentivePool2d, x: Tensor) -> Tensor:
    """Pool ``x`` (N, C, H, W) to (N, C, Ho, Wo)."""
    return torch.cat([_pool_image(pool, image) for image in torch.split(x, 1)])


def _pool_image(pool: SelfAttentivePool2d, x: Tensor) -> Tensor:
    patch, height = pool.patch_size[0], -(-x.shape[2] // pool.patch_size[0])
    key_window = pool.attention.key_window(height, -(-x.shape[3] // pool.patch_size[1]))
    tokens, kept = [], []
    cuts = _cuts(pool, x, key_window[0])
    for first, last in pairwise(cuts):
        part = pool.pad_to_patches(x[:, :, first * patch : last * patch].contiguous())
        tokens.append(pool._tokens(pool.embed(part), (height, slice(first, last))))
        kept.append(pool.attention.cap_keys(tokens[-1], key_window))
    keys_and_values = pool.attention.keys_and_values(torch.cat(kept, dim=2))
    pooled = []
    for (first, last), band in zip(pairwise(cuts), tokens, strict=True):
        reduced = reduce_before_weighting(x[:, :, first * patch : last * patch].contiguous(), pool.window)
        logit = pool._restore(pool.attention.attend(band, keys_and_values))
        pooled.append(pool._average(reduced, logit, pool.window))
    return torch.cat(pooled, dim=2)


def _cuts(pool: SelfAttentivePool2d, x: Tensor, key_rows: int) -> list[int]:
    """Return where bands begin and end, in token rows: between key windows and between pooling windows."""
    patch, stride = pool.patch_size[0], pool.window.stride[0]
    height = -(-x.shape[2] // patch)
    unit = math.lcm(key_rows, math.lcm(stride, patch) // patch)
    row_bytes = -(-x.shape[3] // pool.patch_size[1]) * pool.attention.query.in_features * x.element_size()
    step = unit * max(1, BAND // (unit * row_bytes))
    # What holds no window any more belongs to the band before.
    starts = [row for row in range(0, height, step) if x.shape[2] - row * patch >= pool.window.kernel_size[0]]
    return [*starts, height]
