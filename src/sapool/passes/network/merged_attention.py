"""Attention with its linear maps multiplied out, one head after the other.

For one head with tokens X, ``scores = (X Wq + bq)(X Wk + bk)^T``. Terms that are constant along a row cancel in the
soft-max, so ``scores = (X M + b) X^T`` with ``M = Wq Wk^T`` and ``b = bq Wk^T``: no key layer. Soft-max rows A sum to
one, so ``A (X Wv + bv) Wo R = (A X) (Wv Wo R) + bv Wo R`` with R the 1x1 restoration: no value and no output layer
either. Exact up to rounding. Per head four operators are left (of some eight, with a RESHAPE and a TRANSPOSE around
every operand), the scores of one head at a time, and 1/sqrt(d) is in M. The matrix products cost ``heads`` times more
MACs, on few tokens; they are counted.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sapool.layers import SelfAttentivePool2d, TokenAttention
from sapool.layers.attention import as_map, as_sequence
from sapool.passes.network._modules import modules_of

# MACs grow with the heads, and every head costs operators: beyond this the batched form is the leaner one.
MOST_HEADS = 4


class MergedAttention(nn.Module):
    """(N, E, h, w) -> (N, heads E, h, w): every head's ``A X``, whose value and output maps are in the restoration."""

    def __init__(self, attention: TokenAttention) -> None:
        super().__init__()
        self.whole = attention
        width = attention.query.out_features // attention.num_heads
        self.scores = nn.ModuleList()
        for head in range(attention.num_heads):
            rows = slice(head * width, (head + 1) * width)
            self.scores.append(_merged_scores(attention, rows, width**-0.5))

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend over ``tokens`` (N, E, h, w)."""
        kept = self.whole.cap_keys(tokens)
        keys, transposed = as_sequence(kept), kept.flatten(2)
        heads = []
        for score in self.scores:
            scores = as_sequence(score(tokens)) @ keys.transpose(1, 2)
            heads.append(torch.softmax(scores, dim=-1) @ transposed.transpose(1, 2))
        joined = torch.cat(heads, dim=2) if len(heads) > 1 else heads[0]
        return as_map(joined, tokens.shape[2], tokens.shape[3])


def _merged_scores(attention: TokenAttention, rows: slice, scale: float) -> nn.Conv2d:
    """Return x -> (x M + b) of one head as a 1x1 convolution: its kernel rounds alike in both interpreters."""
    key = attention.key.weight[rows]
    weight = key.t() @ attention.query.weight[rows] * scale
    merged = nn.Conv2d(key.shape[1], key.shape[1], 1, bias=False, dtype=key.dtype)
    with torch.no_grad():
        merged.weight.copy_(weight[:, :, None, None])
    merged.bias = nn.Parameter((key.t() @ attention.query.bias[rows] * scale).detach())
    return merged


def _merged_restore(attention: TokenAttention, restore: nn.Conv2d) -> nn.Conv2d:
    """Return the 1x1 convolution heads E -> C that holds every head's value map, the output map and the restoration."""
    width = attention.query.out_features // attention.num_heads
    out = restore.weight[:, :, 0, 0] @ attention.project.weight
    parts = [
        out[:, start : start + width] @ attention.value.weight[start : start + width]
        for start in range(0, width * attention.num_heads, width)
    ]
    width_in = len(parts) * restore.in_channels
    merged = nn.Conv2d(width_in, restore.out_channels, 1, bias=False, dtype=restore.weight.dtype)
    bias = out @ attention.value.bias + restore.weight[:, :, 0, 0] @ attention.project.bias
    with torch.no_grad():
        merged.weight.copy_(torch.cat(parts, dim=1)[:, :, None, None])
    merged.bias = nn.Parameter((bias if restore.bias is None else bias + restore.bias).detach())
    return merged


def merge_attention(model: nn.Module, images: Tensor) -> int:
    """Multiply out the attention of every self-attentive pool with at most 4 heads; returns how many changed."""
    changed = 0
    for _, pool in modules_of(model, SelfAttentivePool2d):
        if isinstance(pool.attention, TokenAttention) and pool.attention.num_heads <= MOST_HEADS:
            attention = pool.attention
            if pool.combine != "context":
                pool.restore = _merged_restore(attention, pool.restore)
            if pool.context is not None:
                pool.context.project = _merged_restore(attention, pool.context.project)
            pool.add_module("attention", MergedAttention(attention))
            changed += 1
    return changed
