"""Which pool goes where: :func:`make_plan` turns a list of strides into a :class:`PoolingPlan`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from sapool.base.records import DownsamplingSite, PoolingPlan, SitePlan, Size, UnsupportedSite
from sapool.layers import check_pool_name, create_pool, pool_keywords
from sapool.networks.recorded import read_model
from sapool.networks.traced import InputSize, Network, TracedModel, as_input_size
from sapool.planning.placement import PLACEMENTS, Place, operator_nodes, places_of
from sapool.planning.sites import find_sites

# A score matrix has heads x tokens x keys entries; at 64 tokens two heads take 8 KiB of int8.
PLANNED_TOKENS = 64

# Keywords of a plan besides the pooling's own.
WINDOW_KEYWORDS = ("kernel_size", "padding", "ceil_mode")

Stride = int | tuple[int, int]
PlacesOf = Callable[[TracedModel, DownsamplingSite, str], list[Place]]


def make_plan(
    model: Network,
    input_size: InputSize,
    pool: str = "self_attentive",
    strides: Sequence[Stride] | None = None,
    placement: str = "block",
    **pool_kwargs: Any,
) -> PoolingPlan:
    """Plan one pooling for every down-sampling site of ``model``, the direct way.

    With the old reduction kept, a site's convolution goes to stride 1 and the pool takes it all; with a larger one the
    convolution keeps its stride and the pool takes the rest; 1 means no down-sampling there; a pair
    (convolution stride, pool stride) is taken as it is. ``strided`` puts the whole reduction on the convolution.

    A self-attentive pool without a ``patch_size`` gets the smallest multiple of its stride that leaves at most 64
    tokens, so that its attention stays small beside the map it pools; a window-normalised one the largest proper
    divisor of its stride, which does not cancel.

    Args:
        model: a network, or its trace.
        input_size: an int (square, 3 channels) or (C, H, W).
        pool: a name of :func:`sapool.list_pools`.
        strides: one entry a site, in execution order; by default every site keeps its reduction.
        placement: ``"block"``: behind the block that shrank; ``"stage"``: behind the last block of that resolution;
            ``"group-start"``: before the block that shrank; ``"in-place"``: behind each operator that shrank, or where
            it stood if it was a pool: the only one for a network that torch.fx can't trace, and its default.
        **pool_kwargs: keywords for every pool; ``kernel_size``, ``padding`` and ``ceil_mode`` change its window, which
            is otherwise its stride without padding.

    Returns:
        The plan.

    Raises:
        ValueError: unknown pooling, placement or keyword, no site to plan, a wrong number of strides, a stride under 1,
            or strides that shrink the map to nothing (the message names the site).
    """
    check_choices(pool, placement, pool_kwargs)
    size = as_input_size(input_size)
    traced = read_model(model, size)
    if traced.untraceable and placement == "block":
        placement = "in-place"  # as the warning said
    return plan_sites(traced, supported_sites(traced, size), size, pool, strides, placement, pool_kwargs)


def plan_sites(
    traced: TracedModel,
    sites: Sequence[DownsamplingSite],
    size: tuple[int, int, int],
    pool: str,
    strides: Sequence[Stride] | None,
    placement: str,
    pool_kwargs: dict[str, Any],
    places: PlacesOf = places_of,
) -> PoolingPlan:
    """Plan the sites of a network that is traced already: see :func:`make_plan`."""
    chosen = [site.reduction for site in sites] if strides is None else list(strides)
    if len(chosen) != len(sites):
        names = ", ".join(f"{site.name} (now {site.reduction})" for site in sites)
        raise ValueError(f"strides needs one entry a down-sampling site, {len(sites)} in all, got {chosen}: {names}")
    plans: list[SitePlan] = []
    left: dict[str, Size] = {}  # the map behind every site so far
    for site, stride in zip(sites, chosen, strict=True):
        conv_stride, pool_stride = _split(site, stride, pool)
        before = _shrink(site, _entering(traced, site, sites[: len(plans)], left), conv_stride, 1)
        kwargs: dict[str, Any] = {}
        if pool_stride > 1:
            channels = [place.channels for place in places(traced, site, placement)]
            kwargs = _keywords(site, channels, pool, pool_stride, before, pool_kwargs)
        left[site.name] = _shrink(site, before, 1, pool_stride)
        plans.append(SitePlan(site.name, pool, conv_stride, pool_stride, placement, kwargs))
    return PoolingPlan(size, tuple(plans))


def _entering(
    traced: TracedModel, site: DownsamplingSite, earlier: Sequence[DownsamplingSite], left: dict[str, Size]
) -> Size:
    """Return the map that enters a site: what the last site on the way to it has left."""
    (goal, *_) = operator_nodes(traced, site)
    nodes = {node.name: node for node in traced.module.graph.nodes}
    for other in reversed(earlier):
        if other.after == site.before and traced.flow.reaches(nodes[other.exit], goal):
            return left[other.name]
    return site.before


def supported_sites(model: Network, input_size: InputSize) -> list[DownsamplingSite]:
    """Return the sites of a network, or of its trace, that can be re-planned.

    Raises:
        ValueError: there is none; the message gives the reasons.
    """
    traced = read_model(model, input_size)
    found = find_sites(traced)
    sites = [site for site in found if isinstance(site, DownsamplingSite)]
    if not sites:
        reasons = "; ".join(f"{site.name}: {site.reason}" for site in found if isinstance(site, UnsupportedSite))
        raise ValueError(
            f"{type(traced.model).__name__} has no down-sampling to plan" + (f": {reasons}" if reasons else "")
        )
    return sites


def check_choices(pool: str, placement: str, kwargs: dict[str, Any]) -> None:
    """Check a pooling's name, its placement and its keywords.

    Raises:
        ValueError: one is unknown; the message lists what there is.
    """
    check_pool_name(pool)
    if placement not in PLACEMENTS:
        raise ValueError(f"unknown placement {placement!r}: choose from {', '.join(PLACEMENTS)}")
    known = [*pool_keywords(pool), *WINDOW_KEYWORDS]
    for name in kwargs:
        if name not in known:
            raise ValueError(f"pooling {pool!r} takes no keyword {name!r}: it takes {', '.join(known) or 'none'}")


def _split(site: DownsamplingSite, stride: Stride, pool: str) -> tuple[int, int]:
    """Return (convolution stride, pool stride) of a site."""
    if isinstance(stride, tuple):
        conv_stride, pool_stride = stride
    elif pool == "strided":
        conv_stride, pool_stride = stride, 1
    elif stride > site.reduction and stride % site.reduction == 0:
        conv_stride, pool_stride = site.reduction, stride // site.reduction
    else:
        conv_stride, pool_stride = 1, stride
    if conv_stride < 1 or pool_stride < 1:
        raise ValueError(f"the stride of {site.name} must be at least 1, got {stride}")
    return conv_stride, pool_stride


def _shrink(site: DownsamplingSite, size: Size, conv_stride: int, pool_stride: int) -> Size:
    """Return the map behind a stride: a padded convolution rounds up, a pool rounds down."""
    rows, columns = (math.ceil(n / conv_stride) // pool_stride for n in size)
    if min(rows, columns) < 1:
        raise ValueError(
            f"the strides shrink the map to nothing at {site.name}: {size[0]} x {size[1]} pooled by {pool_stride}"
        )
    return rows, columns


def _keywords(
    site: DownsamplingSite,
    channels: Sequence[int],
    pool: str,
    pool_stride: int,
    map_size: Size,
    given: dict[str, Any],
) -> dict[str, Any]:
    """Return the pool's keywords at one site, checked by building it without memory."""
    kwargs = dict(given)
    if pool == "self_attentive" and "patch_size" not in given:
        kwargs = {"patch_size": _patch_size(pool_stride, map_size, bool(given.get("window_norm"))), **given}
    patch = kwargs.get("patch_size")
    one_weight = kwargs.get("restoration") != "pixel_shuffle" and not kwargs.get("allow_collapse")
    if kwargs.get("window_norm") and one_weight and isinstance(patch, int) and max(map_size) <= patch:
        raise ValueError(
            f"the pool at {site.name}: a patch_size of {patch} leaves one token of the {map_size[0]} x {map_size[1]} "
            "map, whose weight cancels: use a smaller patch_size, or window_norm=False"
        )
    try:
        with torch.device("meta"):
            for count in channels:
                planned_pool(pool, count, pool_stride, kwargs)
    except (ValueError, TypeError) as error:
        raise ValueError(f"the pool at {site.name}: {error}") from None
    return kwargs


def planned_pool(pool: str, channels: int, pool_stride: int, kwargs: dict[str, Any]) -> nn.Module:
    """Build a planned pool: its window is its stride, unless the keywords say otherwise."""
    rest = {key: value for key, value in kwargs.items() if key not in ("kernel_size", "padding")}
    return create_pool(
        pool, channels, kwargs.get("kernel_size", pool_stride), pool_stride, kwargs.get("padding", 0), **rest
    )


def _patch_size(pool_stride: int, map_size: Size, window_norm: bool) -> int:
    """Return a patch that does not cancel: if normalised, the largest that divides the stride; else by tokens."""
    if window_norm:
        return max(p for p in range(1, pool_stride) if pool_stride % p == 0)
    patch = pool_stride
    while math.ceil(map_size[0] / patch) * math.ceil(map_size[1] / patch) > PLANNED_TOKENS:
        patch += pool_stride
    return patch
