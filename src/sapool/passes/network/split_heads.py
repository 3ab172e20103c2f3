"""Attention with many heads, one head after the other.

The batched form holds the scores of all heads at once (twice: the soft-max is not in place), transposes queries, keys
and values into a layout by heads and back, and its matrix products keep transposed copies for good. Here each head has
1x1 convolutions of its own for queries and keys, so that its scores can go before the next head's are made, and one
transposition makes the values of all heads rows. The output map is multiplied into the restoration, and so is the
values' bias: soft-max rows sum to one. Exact up to rounding, and hardly more MACs than before; with few heads
:mod:`sapool.passes.network.merged_attention` is leaner still.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sapool.base.tflm_limits import MOST_JOINED
from sapool.layers import SelfAttentivePool2d, TokenAttention
from sapool.layers.attention import as_map, as_sequence
from sapool.passes.network._modules import modules_of
from sapool.passes.network.merged_attention import MOST_HEADS


class SplitAttention(nn.Module):
    """(N, E, h, w) -> (N, E, h, w): every head's attended values, whose output map is in the restoration."""

    def __init__(self, attention: TokenAttention) -> None:
        super().__init__()
        self.whole, heads = attention, attention.num_heads
        width = attention.query.out_features // heads
        rows = [slice(head * width, (head + 1) * width) for head in range(heads)]
        self.queries = nn.ModuleList(_conv(attention.query, part, width**-0.5) for part in rows)
        self.keys = nn.ModuleList(_conv(attention.key, part) for part in rows)
        self.values = _conv(attention.value, slice(None))
        self.values.bias = None

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend over ``tokens`` (N, E, h, w)."""
        kept = self.whole.cap_keys(tokens)
        values = self.values(kept).flatten(2).chunk(len(self.queries), dim=1)
        heads = []
        for query, key, value in zip(self.queries, self.keys, values, strict=True):
            scores = as_sequence(query(tokens)) @ as_sequence(key(kept)).transpose(1, 2)
            heads.append(torch.softmax(scores, dim=-1) @ value.transpose(1, 2))
        return as_map(torch.cat(heads, dim=2), tokens.shape[2], tokens.shape[3])


def _conv(linear: nn.Linear, rows: slice, scale: float = 1.0) -> nn.Conv2d:
    """Return some rows of a linear map as a 1x1 convolution: its kernel rounds alike in both interpreters."""
    weight = (linear.weight[rows] * scale).detach()
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1, dtype=weight.dtype)
    conv.weight = nn.Parameter(weight[:, :, None, None].clone(), requires_grad=False)
    conv.bias = nn.Parameter((linear.bias[rows] * scale).detach().clone(), requires_grad=False)
    return conv


def _restore(attention: TokenAttention, restore: nn.Conv2d) -> nn.Conv2d:
    """Return the 1x1 convolution E -> C that holds the output map, the values' bias and the restoration."""
    matrix = restore.weight[:, :, 0, 0]
    weight = (matrix @ attention.project.weight).detach()
    bias = (matrix @ (attention.project.weight @ attention.value.bias + attention.project.bias)).detach()
    merged = nn.Conv2d(weight.shape[1], weight.shape[0], 1, dtype=weight.dtype)
    merged.weight = nn.Parameter(weight[:, :, None, None], requires_grad=False)
    total = bias if restore.bias is None else bias + restore.bias.detach()
    merged.bias = nn.Parameter(total, requires_grad=False)
    return merged


def split_heads(model: nn.Module, images: Tensor) -> int:
    """Run the heads of every self-attentive pool with 5 to 10 one after the other; returns how many pools changed."""
    changed = 0
    for _, pool in modules_of(model, SelfAttentivePool2d):
        attention = pool.attention
        if isinstance(attention, TokenAttention) and MOST_HEADS < attention.num_heads <= MOST_JOINED:
            if pool.combine != "context":
                pool.restore = _restore(attention, pool.restore)
            if pool.context is not None:
                pool.context.project = _restore(attention, pool.context.project)
            pool.add_module("attention", SplitAttention(attention))
            changed += 1
    return changed
