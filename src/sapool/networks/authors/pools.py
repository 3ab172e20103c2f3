"""The authors' poolings by their tokens, and their weights in our modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sapool.base.suggest import suggest
from sapool.layers import Pair, SelfAttentivePool2d, TokenAttention, as_pair, create_pool

# What each token changes in the paper's form.
SELF_ATTENTIVE: dict[str, dict[str, Any]] = {
    "nlp": {},
    "nlpnoexp": {"gate": "sigmoid"},
    "nlpnosigmoid": {"gate": "exp"},
    "nlpnope": {"position": None},
    "nlpnobn1": {"embed_norm": False},
    "nlpnobn2": {"restore_norm": False},
}
DEFORMED = {
    "dfmnlp": "deformable_self_attentive",
    "mixp": "mixed_self_attentive",
    "dfmixp": "mixed_self_attentive",  # the same function as mixp
}
PLAIN = {"lip": "lip_1x1", "gaussian_pool": "gaussian", "maxp": "max", "avgp": "avg"}
TOKENS = (*SELF_ATTENTIVE, *DEFORMED, "attnpool", *PLAIN)
_WITH_WEIGHTS = (*SELF_ATTENTIVE, "attnpool", "lip", "gaussian_pool")
_POSITION_SIZE = 256
# On maps of up to 2,048 tokens the last digits are theirs, too: a BatchNorm behind may multiply them by a hundred.
_PLAIN_SCORES = 2048 * 2048


def authors_pool(
    token: str,
    in_channels: int,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    *,
    patch_size: int | Pair = 1,
    num_heads: int = 2,
    embed_ratio: float = 1.0,
    window_norm: bool = True,
    position_size: int = _POSITION_SIZE,
) -> nn.Module:
    """Build the pooling that the authors' ``token`` names, in their form.

    A form whose weights cancel is built, with a :class:`sapool.CollapseWarning`. The deformed ones are ours: their
    published sampler is shifted.

    Args:
        token: one of :data:`TOKENS`.
        in_channels: C.
        kernel_size: window, in pixels.
        stride: step of the window, in pixels; default ``kernel_size``.
        patch_size: p, in pixels; where the token has patches.
        num_heads: attention heads; where it has any.
        embed_ratio: r; where it has an embedding.
        window_norm: whether windows are normalised; ``lip`` always is.
        position_size: entries of the position tables.

    Returns:
        A module (N, C, H, W) -> (N, C, Ho, Wo).

    Raises:
        ValueError: an unknown token.
    """
    attention: dict[str, Any] = {
        "num_heads": num_heads,
        "embed_ratio": embed_ratio,
        "max_keys": None,
        "position_size": position_size,
    }
    patched = attention | {"patch_size": patch_size, "window_norm": window_norm}
    if token in SELF_ATTENTIVE:
        choices = patched | SELF_ATTENTIVE[token]
        return SelfAttentivePool2d.paper(in_channels, kernel_size, stride, **choices, allow_collapse=True)
    if token in DEFORMED:
        return create_pool(DEFORMED[token], in_channels, kernel_size, stride, init="random", **patched)
    if token == "attnpool":
        return create_pool("attention_strided", in_channels, kernel_size, stride, **attention)
    if token not in PLAIN:
        raise ValueError(f"unknown pooling token {token!r}: choose from {', '.join(TOKENS)}")
    return create_pool(PLAIN[token], in_channels, kernel_size, stride)


def from_authors(
    state_dict: Mapping[str, Tensor],
    *,
    pool: str,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    num_heads: int = 2,
    window_norm: bool = True,
) -> nn.Module:
    """Return our module with the weights of one of the authors' pooling layers.

    Patch size, embedding width and table length are read off the weights. Outputs and input gradients are theirs to
    1e-5, in eval and in train mode (``gaussian_pool`` draws random numbers in training). A form whose weights cancel
    is built, with a :class:`sapool.CollapseWarning`.

    Args:
        state_dict: the layer's own names, with or without ``logit.pool_weight.`` in front.
        pool: ``nlp``, ``nlpnoexp``, ``nlpnosigmoid``, ``nlpnope``, ``nlpnobn1``, ``nlpnobn2``, ``attnpool``, ``lip`` or
            ``gaussian_pool``.
        kernel_size: window, in pixels.
        stride: step of the window, in pixels; default ``kernel_size``.
        num_heads: attention heads, which the weights don't tell.
        window_norm: whether windows are normalised (False is the authors' ``nowin``).

    Returns:
        The module, in train mode.

    Raises:
        ValueError: an unknown ``pool``, or weights that are not such a layer's.
    """
    if pool not in _WITH_WEIGHTS:
        why = (
            "its published sampler is shifted, so its weights don't carry over"
            if pool in DEFORMED
            else suggest(pool, _WITH_WEIGHTS)
        )
        raise ValueError(f"from_authors: pool can't be {pool!r}: {why}")
    theirs = {name.removeprefix("logit.pool_weight."): value for name, value in state_dict.items()}
    first = {"lip": "logit.0.weight", "gaussian_pool": "ToHidden.1.weight"}.get(pool, "downsample.0.weight")
    _check_names(pool, theirs, first)
    shape = theirs[first].shape
    settings: dict[str, Any] = {}
    if first == "downsample.0.weight":
        settings = _attention_settings(pool, theirs, num_heads)
    module = authors_pool(
        pool, shape[1], as_pair(kernel_size), stride, num_heads=num_heads, window_norm=window_norm, **settings
    )
    _load(module, _rename(pool, theirs), pool)
    for part in module.modules():
        if isinstance(part, TokenAttention):
            part.plain_scores = _PLAIN_SCORES
    return module


def _check_names(pool: str, theirs: Mapping[str, Tensor], first: str) -> None:
    needed = [first]
    if first == "downsample.0.weight":
        needed += [f"multihead_attn.{n}" for n in ("in_proj_weight", "in_proj_bias", "out_proj.weight")]
    for name in needed:
        if name not in theirs:
            held = ", ".join(list(theirs)[:4]) or "nothing"
            raise ValueError(
                f"from_authors: state_dict is no {pool!r} layer's: {name} is missing (it holds {held} ...)"
            )


def _attention_settings(pool: str, theirs: Mapping[str, Tensor], num_heads: int) -> dict[str, Any]:
    embed_dim, in_channels, *patch = theirs["downsample.0.weight"].shape
    if num_heads < 1 or embed_dim % num_heads:
        raise ValueError(f"from_authors: num_heads must divide the embedding width {embed_dim}, got {num_heads}")
    settings = {"embed_ratio": embed_dim / in_channels, "patch_size": (patch[0], patch[1])}
    if "pos_embed.row_embed.weight" in theirs:
        settings["position_size"] = theirs["pos_embed.row_embed.weight"].shape[0]
    return settings


def _rename(pool: str, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under our names; a name that is not the layer's is kept, and reported when it is loaded."""
    names = {
        "downsample.0": "embed",
        "downsample.1": "embed_norm",
        "pos_embed.row_embed.weight": "position.row",
        "pos_embed.col_embed.weight": "position.column",
        "multihead_attn.out_proj": "attention.project",
    }
    if pool == "lip":
        names = {}
    elif pool == "gaussian_pool":
        parts = {"ToHidden": ("hidden", 1), "ToMean": ("mean", 0), "ToSigma": ("spread", 0)}
        names = {f"{old}.{at}": new for old, (new, at) in parts.items()}
        names |= {f"{old}.{at + 1}": f"{new}_norm" for old, (new, at) in parts.items()}
    elif pool == "attnpool":
        names |= {"map.0": "reduce", "map.1": "reduce_norm"}
    else:
        names |= {"restore.0": "restore", "restore.1": "restore_norm"}
    ours: dict[str, Tensor] = {}
    for name, value in theirs.items():
        if name.startswith("multihead_attn.in_proj_"):
            for part, piece in zip(("query", "key", "value"), value.chunk(3), strict=True):
                ours[f"attention.{part}.{name.removeprefix('multihead_attn.in_proj_')}"] = piece.clone()
        else:
            old = next((old for old in names if name == old or name.startswith(old + ".")), None)
            ours[name if old is None else names[old] + name.removeprefix(old)] = value
    return ours


def _load(module: nn.Module, ours: dict[str, Tensor], pool: str) -> None:
    expected = module.state_dict()
    missing, unknown = sorted(set(expected) - set(ours)), sorted(set(ours) - set(expected))
    wrong = [n for n, value in ours.items() if n in expected and value.shape != expected[n].shape]
    if missing or unknown or wrong:
        parts = (("missing", missing), ("unknown", unknown), ("of another shape", wrong))
        said = "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)
        raise ValueError(f"from_authors: state_dict is no {pool!r} layer's: {said}")
    with torch.no_grad():
        module.load_state_dict(ours)
