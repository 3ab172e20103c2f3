"""Pooling layers: tensors in, tensors out; this package needs torch alone."""

from __future__ import annotations

import difflib
from typing import Any

from torch import nn

from sapool.layers.basic import AvgPool2d, MaxPool2d, StridedConv2d
from sapool.layers.self_attentive import LearnedPosition2d, PatchBatchNorm2d, SelfAttentivePool2d, TokenAttention
from sapool.layers.weighted import Pair, Window, as_pair, reduce_before_weighting, weighted_average

POOLS: dict[str, type[nn.Module]] = {
    "self_attentive": SelfAttentivePool2d,
    "max": MaxPool2d,
    "avg": AvgPool2d,
    "strided": StridedConv2d,
}

__all__ = [
    "POOLS",
    "AvgPool2d",
    "LearnedPosition2d",
    "MaxPool2d",
    "PatchBatchNorm2d",
    "SelfAttentivePool2d",
    "StridedConv2d",
    "TokenAttention",
    "Window",
    "as_pair",
    "check_pool_name",
    "create_pool",
    "list_pools",
    "reduce_before_weighting",
    "weighted_average",
]


def list_pools() -> list[str]:
    """Return the names that :func:`create_pool` takes, sorted."""
    return sorted(POOLS)


def check_pool_name(name: str) -> str:
    """Return ``name`` if it is a pooling.

    Raises:
        ValueError: it is not; the message lists the nearest names, or all.
    """
    if name not in POOLS:
        near = difflib.get_close_matches(name, POOLS, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(list_pools())}"
        raise ValueError(f"unknown pooling {name!r}: {hint}")
    return name


def create_pool(
    name: str,
    in_channels: int,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: int | Pair = 0,
    **kwargs: Any,
) -> nn.Module:
    """Build a pooling layer by name.

    Args:
        name: one of :func:`list_pools`.
        in_channels: channels of the map to pool.
        kernel_size: window, in pixels.
        stride: step of the window, in pixels; default ``kernel_size``.
        padding: zeros around the map, in pixels.
        **kwargs: passed to the layer; one it does not take is a TypeError that names it.

    Returns:
        A module (N, C, H, W) -> (N, C, Ho, Wo).

    Raises:
        ValueError: unknown name, or a value the layer refuses.
        TypeError: a keyword the layer does not take.
    """
    layer = POOLS[check_pool_name(name)]
    return layer(in_channels, kernel_size, stride, padding, **kwargs)
