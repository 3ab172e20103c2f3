"""Pooling layers: tensors in, tensors out; this package needs torch alone.

A layer built on another library (blur on timm, the deformable ones on torchvision) imports it when it is built.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from sapool.base.suggest import suggest
from sapool.layers.attention import LearnedPosition2d, PatchBatchNorm2d, TokenAttention
from sapool.layers.attention_strided import AttentionStridedPool2d
from sapool.layers.basic import AvgPool2d, MaxPool2d, StridedConv2d
from sapool.layers.blur import BlurPool2d
from sapool.layers.cpu.tiles import has_hooks
from sapool.layers.deformable import DeformableSelfAttentivePool2d, MixedSelfAttentivePool2d
from sapool.layers.gaussian import GaussianPool2d
from sapool.layers.haar import HaarPool2d
from sapool.layers.local_importance import LocalImportancePool2d, PointwiseImportancePool2d
from sapool.layers.lp import LpPool2d
from sapool.layers.meter import distance_from_average
from sapool.layers.mixed import GatedPool2d, MixedPool2d
from sapool.layers.rnn import RNNPool2d
from sapool.layers.self_attentive import CollapseWarning, SelfAttentivePool1d, SelfAttentivePool2d
from sapool.layers.soft import SoftPool2d, WindowSoftmax, softmax_average
from sapool.layers.space_to_depth import SpaceToDepthPool2d
from sapool.layers.weighted import WeightedWindow, reduce_before_weighting, weighted_average
from sapool.layers.window import Pair, Window, WindowPool2d, as_pair

POOLS: dict[str, type[nn.Module]] = {
    "self_attentive": SelfAttentivePool2d,
    "deformable_self_attentive": DeformableSelfAttentivePool2d,
    "mixed_self_attentive": MixedSelfAttentivePool2d,
    "attention_strided": AttentionStridedPool2d,
    "max": MaxPool2d,
    "avg": AvgPool2d,
    "strided": StridedConv2d,
    "lip": LocalImportancePool2d,
    "lip_1x1": PointwiseImportancePool2d,
    "gaussian": GaussianPool2d,
    "soft": SoftPool2d,
    "blur": BlurPool2d,
    "mixed": MixedPool2d,
    "gated": GatedPool2d,
    "lp": LpPool2d,
    "space_to_depth": SpaceToDepthPool2d,
    "haar": HaarPool2d,
    "rnn": RNNPool2d,
}

__all__ = [
    "POOLS",
    "AttentionStridedPool2d",
    "AvgPool2d",
    "BlurPool2d",
    "CollapseWarning",
    "DeformableSelfAttentivePool2d",
    "GatedPool2d",
    "GaussianPool2d",
    "HaarPool2d",
    "LearnedPosition2d",
    "LocalImportancePool2d",
    "LpPool2d",
    "MaxPool2d",
    "MixedPool2d",
    "MixedSelfAttentivePool2d",
    "Pair",
    "PatchBatchNorm2d",
    "PointwiseImportancePool2d",
    "RNNPool2d",
    "SelfAttentivePool1d",
    "SelfAttentivePool2d",
    "SoftPool2d",
    "SpaceToDepthPool2d",
    "StridedConv2d",
    "TokenAttention",
    "WeightedWindow",
    "Window",
    "WindowPool2d",
    "WindowSoftmax",
    "as_pair",
    "check_pool_name",
    "create_pool",
    "distance_from_average",
    "has_hooks",
    "is_pool",
    "list_pools",
    "pool_keywords",
    "reduce_before_weighting",
    "softmax_average",
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
        raise ValueError(f"unknown pooling {name!r}: {suggest(name, list_pools())}")
    return name


def is_pool(module: nn.Module) -> bool:
    """Whether ``module`` is a layer of this package, or a part of one."""
    return type(module).__module__.startswith(__name__)


def pool_keywords(name: str) -> list[str]:
    """Return the keywords that a pooling takes behind its window, in the order of its signature.

    Raises:
        ValueError: an unknown pooling.
    """
    found: dict[str, None] = {}
    for layer in POOLS[check_pool_name(name)].__mro__:
        parameters = inspect.signature(layer).parameters.values()
        found |= dict.fromkeys(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):  # else the base class takes the rest
            break
    return list(found)


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
