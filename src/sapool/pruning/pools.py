"""What becomes of a pooling layer when some channels of its map go: its output loses the same ones.

A pooled map has its map's channels, so outside a pool is a per-channel layer. Inside, whatever is as wide as the map
shrinks with it; an embedding keeps its proportion to the map and stays divisible by the heads. What is removed inside
is what has the smallest norms, and removing equals setting it to zero: the queries are scaled so that the narrower
heads' 1 / sqrt(width) changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sapool.layers import (
    AttentionStridedPool2d,
    AvgPool2d,
    BlurPool2d,
    DeformableSelfAttentivePool2d,
    GatedPool2d,
    GaussianPool2d,
    HaarPool2d,
    LearnedPosition2d,
    LocalImportancePool2d,
    LpPool2d,
    MaxPool2d,
    MixedPool2d,
    MixedSelfAttentivePool2d,
    RNNPool2d,
    SelfAttentivePool2d,
    SoftPool2d,
    SpaceToDepthPool2d,
    TokenAttention,
)
from sapool.pruning.trimming import Trimmer, keep_entries, strongest

Keep = Sequence[int]
Rule = Callable[[Trimmer, Any, Keep], None]


def trim_pool(trim: Trimmer, pool: nn.Module, keep: Keep) -> None:
    """Keep the channels ``keep`` (places, rising) of a pooling layer's map, and so of its output.

    Raises:
        ValueError: no rule for this kind of layer.
    """
    rule = rule_of(pool)
    if rule is None:
        raise ValueError(f"no rule says how to prune {type(pool).__name__}")
    count = pool_channels(pool)
    for side in ("in", "out"):
        trim.note(pool, side, keep, count)
    rule(trim, pool, keep)
    setattr(pool, "channels" if _is_timm_blur(pool) else "in_channels", len(keep))


def rule_of(module: nn.Module) -> Rule | None:
    """Return how a pooling layer is trimmed; None for a module that is none of ours."""
    if _is_timm_blur(module):
        return _timm_blur
    return next((_RULES[kind] for kind in type(module).__mro__ if kind in _RULES), None)


def pool_channels(pool: nn.Module) -> int:
    """Return the channels of a pooling layer's map."""
    return int(pool.channels if _is_timm_blur(pool) else pool.in_channels)  # type: ignore[arg-type]


def channel_repeats(pool: nn.Module) -> int:
    """Return into how many equal runs the channels fall of which the same ones must stay: RNNPool's four passes."""
    return 4 if isinstance(pool, RNNPool2d) and pool.restore is None else 1


def _is_timm_blur(module: nn.Module) -> bool:
    return type(module).__name__ == "BlurPool2d" and hasattr(module, "filt")


def _nothing(trim: Trimmer, pool: Any, keep: Keep) -> None:
    """Nothing inside is as wide as the map."""


def _timm_blur(trim: Trimmer, pool: Any, keep: Keep) -> None:
    keep_entries(pool, "filt", keep)


def _blur(trim: Trimmer, pool: BlurPool2d, keep: Keep) -> None:
    parts: Any = pool.blurs
    for blur in parts:
        _timm_blur(trim, blur, keep)
        blur.channels = len(keep)


def _self_attentive(trim: Trimmer, pool: SelfAttentivePool2d, keep: Keep) -> None:
    embed: Any = pool.embed
    if not isinstance(embed, nn.Conv2d):  # separable
        trim.depthwise(embed[0], keep)
        embed = embed[1]
    kept = _embedding(trim, pool, embed, keep)
    readers: list[nn.Conv2d] = [layer for layer in (getattr(pool, "restore", None),) if layer is not None]
    if readers:
        area = pool.restore.out_channels // pool.in_channels
        logits = [channel * area + place for channel in keep for place in range(area)]
        trim.outputs(pool.restore, logits)
        trim.norm(pool.restore_norm, logits)
    context: Any = getattr(pool, "context", None)
    if context is not None:
        trim.outputs(context.project, keep)
        trim.norm(context.norm, keep)
        readers.append(context.project)
    _attention_output(trim, pool.attention, kept, readers)


def _deformable(trim: Trimmer, pool: DeformableSelfAttentivePool2d, keep: Keep) -> None:
    _self_attentive(trim, pool, keep)
    trim.inputs(pool.offset, keep)
    trim.inputs(pool.modulation, keep)


def _mixed_self_attentive(trim: Trimmer, pool: MixedSelfAttentivePool2d, keep: Keep) -> None:
    _deformable(trim, pool, keep)
    trim.inputs(pool.local, keep)
    trim.outputs(pool.local, keep)
    trim.norm(pool.local_norm, keep)


def _attention_strided(trim: Trimmer, pool: AttentionStridedPool2d, keep: Keep) -> None:
    kept = _embedding(trim, pool, pool.embed, keep)
    trim.outputs(pool.reduce, keep)
    trim.norm(pool.reduce_norm, keep)
    _attention_output(trim, pool.attention, kept, [pool.reduce])


def _embedding(trim: Trimmer, pool: Any, embed: nn.Conv2d, keep: Keep) -> int:
    """Trim what makes the tokens and the heads; returns the new embedding width."""
    old, heads = embed.out_channels, pool.attention.num_heads
    width = min(old, max(1, round(old * len(keep) / pool.in_channels / heads)) * heads)
    trim.inputs(embed, keep)
    scores = _norms(embed.weight)
    if pool.position is None:
        tokens = strongest(scores, width)
    else:  # a half of the columns, a half of the rows, as a new layer of this width has them
        columns = strongest(scores[: old // 2], width // 2)
        rows = strongest(scores[old // 2 :], width - width // 2)
        _position(pool.position, columns, rows)
        tokens = columns + [old // 2 + row for row in rows]
    trim.outputs(embed, tokens)
    trim.norm(pool.embed_norm, tokens)
    _heads(trim, pool.attention, tokens)
    return width


def _position(position: LearnedPosition2d, columns: Keep, rows: Keep) -> None:
    keep_entries(position, "column", columns, 1)
    keep_entries(position, "row", rows, 1)


def _heads(trim: Trimmer, attention: TokenAttention, tokens: Keep) -> None:
    """Narrow every head by as much as the tokens: queries with keys, values with what the projection reads."""
    old, heads = attention.query.out_features, attention.num_heads
    for layer in (attention.query, attention.key, attention.value):
        trim.inputs(layer, tokens)
    matched = _per_head(_norms(attention.query.weight) * _norms(attention.key.weight), heads, len(tokens))
    for layer in (attention.query, attention.key):
        trim.outputs(layer, matched)
    with torch.no_grad():  # scores are divided by the square root of a head's width
        for parameter in (attention.query.weight, attention.query.bias):
            parameter.mul_(math.sqrt(len(tokens) / old))
    read = _norms(attention.project.weight, 1)
    values = _per_head(_norms(attention.value.weight) * read, heads, len(tokens))
    trim.outputs(attention.value, values)
    trim.inputs(attention.project, values)


def _attention_output(trim: Trimmer, attention: TokenAttention, width: int, readers: Sequence[nn.Conv2d]) -> None:
    """Keep of the attended tokens what is written and read with most weight."""
    read = sum((_norms(reader.weight, 1) for reader in readers), torch.zeros((), device=attention.query.weight.device))
    attended = strongest(_norms(attention.project.weight) * read, width)
    trim.outputs(attention.project, attended)
    for reader in readers:
        trim.inputs(reader, attended)


def _norms(weight: Tensor, dim: int = 0) -> Tensor:
    """Return the norm of every slice of ``weight`` along ``dim``: (n,)."""
    return weight.detach().transpose(0, dim).flatten(1).norm(dim=1)


def _per_head(scores: Tensor, heads: int, width: int) -> list[int]:
    """Return the ``width`` best places, as many of each head."""
    size = len(scores) // heads
    return [
        head * size + place
        for head, own in enumerate(scores.view(heads, -1))
        for place in strongest(own, width // heads)
    ]


def _local_importance(trim: Trimmer, pool: LocalImportancePool2d, keep: Keep) -> None:
    convs = [layer for layer in pool.logit if isinstance(layer, nn.Conv2d)]
    trim.inputs(convs[0], keep)
    trim.outputs(convs[-1], keep)
    trim.norm(pool.logit[-1], keep)


def _gaussian(trim: Trimmer, pool: GaussianPool2d, keep: Keep) -> None:
    width = pool.hidden.out_channels
    hidden = strongest(_norms(pool.hidden.weight), max(1, round(width * len(keep) / pool.in_channels)))
    trim.inputs(pool.hidden, keep)
    trim.outputs(pool.hidden, hidden)
    trim.norm(pool.hidden_norm, hidden)
    for conv, norm in ((pool.mean, pool.mean_norm), (pool.spread, pool.spread_norm)):
        if conv is not None:
            trim.inputs(conv, hidden)
            trim.outputs(conv, keep)
            trim.norm(norm, keep)


def _mixed(trim: Trimmer, pool: MixedPool2d, keep: Keep) -> None:
    if len(pool.alpha) == pool.in_channels > 1:
        keep_entries(pool, "alpha", keep)


def _gated(trim: Trimmer, pool: GatedPool2d, keep: Keep) -> None:
    if len(pool.omega) == pool.in_channels > 1:
        keep_entries(pool, "omega", keep)


def _lp(trim: Trimmer, pool: LpPool2d, keep: Keep) -> None:
    keep_entries(pool, "rho", keep)


def _folded(trim: Trimmer, pool: Any, conv: nn.Conv2d, keep: Keep) -> None:
    """Trim a convolution that reads the map's channels once for every place in the window."""
    folds = conv.in_channels // pool.in_channels
    trim.inputs(conv, [fold * pool.in_channels + channel for fold in range(folds) for channel in keep])
    trim.outputs(conv, keep)


def _space_to_depth(trim: Trimmer, pool: SpaceToDepthPool2d, keep: Keep) -> None:
    _folded(trim, pool, pool.conv, keep)


def _haar(trim: Trimmer, pool: HaarPool2d, keep: Keep) -> None:
    _folded(trim, pool, pool.mix, keep)
    trim.norm(pool.mix_norm, keep)


def _rnn(trim: Trimmer, pool: RNNPool2d, keep: Keep) -> None:
    trim.inputs(pool.rnn1.read, keep)
    if pool.restore is not None:
        trim.outputs(pool.restore, keep)
        return
    cell = pool.rnn2
    states = [place for place in keep if place < cell.read.out_channels]
    trim.outputs(cell.read, states)
    trim.outputs(cell.recur, states)
    trim.inputs(cell.recur, states)
    keep_entries(cell, "gate_bias", states)
    keep_entries(cell, "update_bias", states)


_RULES: dict[type[nn.Module], Rule] = {
    MaxPool2d: _nothing,
    AvgPool2d: _nothing,
    SoftPool2d: _nothing,
    BlurPool2d: _blur,
    SelfAttentivePool2d: _self_attentive,
    DeformableSelfAttentivePool2d: _deformable,
    MixedSelfAttentivePool2d: _mixed_self_attentive,
    AttentionStridedPool2d: _attention_strided,
    LocalImportancePool2d: _local_importance,
    GaussianPool2d: _gaussian,
    MixedPool2d: _mixed,
    GatedPool2d: _gated,
    LpPool2d: _lp,
    SpaceToDepthPool2d: _space_to_depth,
    HaarPool2d: _haar,
    RNNPool2d: _rnn,
}
