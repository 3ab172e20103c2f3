"""The maps a detector reads from a network, and by how much each is really smaller than the image."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx, nn

from sapool.base.image_size import InputSize
from sapool.base.records import PoolingPlan
from sapool.networks.recorded import read_model
from sapool.networks.traced import Network, TracedModel, evaluating, trace
from sapool.planning.plan import make_plan, supported_sites
from sapool.planning.surgery import apply_plan

# Two sizes whose difference every stride of the form 2^a 3^b 5^c up to 256 divides: what a border adds cancels. The
# probe runs on the "meta" device, so neither costs memory or time.
_PROBED = (3840, 7680)


@dataclass(frozen=True)
class FeatureLevel:
    """One map of a network: its channels, and its stride in pixels of the image."""

    channels: int
    stride: int


def probe_features(backbone: nn.Module, in_channels: int = 3) -> tuple[FeatureLevel, ...]:
    """Run ``backbone`` without data and read off the channels and the stride of every map it returns.

    Args:
        backbone: (N, C, H, W) -> a map, or a sequence or mapping of maps, as timm's ``features_only`` networks.
        in_channels: channels of its image.

    Returns:
        One level a map, in the backbone's own order.

    Raises:
        ValueError: something else than maps comes out, or a map has no one stride in both directions.
    """
    small, large = ([tuple(x.shape) for x in maps_of(_shapes(backbone, (in_channels, side, side)))] for side in _PROBED)
    return tuple(_level(index, a, b) for index, (a, b) in enumerate(zip(small, large, strict=True)))


def _shapes(backbone: nn.Module, size: tuple[int, int, int]) -> object:
    """Return what the backbone makes of one image, without data."""
    shadow = copy.deepcopy(backbone).to("meta")
    with evaluating(shadow):
        return shadow(torch.empty(1, *size, device="meta"))


def _keys_of(backbone: nn.Module) -> list[object] | None:
    """Return by what the backbone's maps are got from its output; None where that is the one map itself."""
    output = _shapes(backbone, (3, _PROBED[0], _PROBED[0]))
    if isinstance(output, Tensor):
        return None
    return list(output) if isinstance(output, Mapping) else list(range(len(maps_of(output))))


def _level(index: int, small: tuple[int, ...], large: tuple[int, ...]) -> FeatureLevel:
    grown = [b - a for a, b in zip(small[2:], large[2:], strict=True)]
    more = _PROBED[1] - _PROBED[0]
    if len(small) != 4 or len(set(grown)) != 1 or grown[0] < 1 or more % grown[0]:
        raise ValueError(
            f"map {index} of the backbone has no stride a detector could use: {small} of a {_PROBED[0]} px image and "
            f"{large} of a {_PROBED[1]} px one; it must be (N, C, H / stride, W / stride)"
        )
    return FeatureLevel(small[1], more // grown[0])


def maps_of(output: object) -> list[Tensor]:
    """Return the maps that a backbone's output holds, in order.

    Raises:
        ValueError: it is no tensor, and no sequence or mapping of tensors.
    """
    values: Sequence[object]
    if isinstance(output, Mapping):
        values = list(output.values())
    else:
        values = list(output) if isinstance(output, list | tuple) else [output]
    maps = [value for value in values if isinstance(value, Tensor)]
    if not maps or len(maps) != len(values):
        raise ValueError(f"a backbone must return maps (N, C, H, W), one or several, got {type(output).__name__}")
    return maps


class FeatureMaps(nn.Module):
    """A backbone's chosen maps by name ("0", "1", ...), finest first.

    Args:
        backbone: see :func:`probe_features`.
        levels: how many of its coarsest maps; default all.

    Attributes:
        levels: channels and stride of each map.

    Raises:
        ValueError: the backbone has fewer maps of different strides, or ``levels`` is under 1.
    """

    def __init__(self, backbone: nn.Module, levels: int | None = None) -> None:
        super().__init__()
        self.body = backbone
        # Of several maps of one stride the last is the deepest.
        by_stride = {level.stride: (index, level) for index, level in enumerate(probe_features(backbone))}
        found = [by_stride[stride] for stride in sorted(by_stride)]
        count = len(found) if levels is None else levels
        if not 1 <= count <= len(found):
            strides = ", ".join(str(level.stride) for _, level in found)
            raise ValueError(
                f"levels must be 1 to {len(found)} (the backbone has maps of stride {strides}), got {levels}"
            )
        keys = _keys_of(backbone)
        # Looked up by key, without asking for types, so that torch.fx can trace the whole.
        self._chosen = None if keys is None else tuple(keys[index] for index, _ in found[-count:])
        self.levels = tuple(level for _, level in found[-count:])

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Images (N, C, H, W) -> maps (N, C', H / stride, W / stride)."""
        output = self.body(x)
        if self._chosen is None:
            return OrderedDict({"0": output})
        return OrderedDict((str(name), output[key]) for name, key in enumerate(self._chosen))


def planned_features(backbone: Network, image_size: InputSize, plan: PoolingPlan | None = None) -> nn.Module:
    """Put ``plan`` into ``backbone`` and let it return its maps.

    Args:
        backbone: a network, or its trace, that returns maps, or a classifier, which is cut behind its last map of every
            resolution.
        image_size: a size it can take, an int (square, 3 channels) or (C, H, W).
        plan: a plan for it (:func:`plan_backbone`, :func:`sapool.make_plan`); None, or one that keeps
            every stride, leaves its down-sampling as it is.

    Returns:
        A copy of the network, images -> a list of maps; ``backbone`` is not changed.

    Raises:
        ValueError: the plan is for another network, or a classifier that torch.fx can't trace.
    """
    network = backbone.model if isinstance(backbone, TracedModel) else backbone
    model = copy.deepcopy(network) if plan is None else _planned(backbone, plan)
    with evaluating(model):
        output = model(torch.rand(1, *_triple(image_size)))
    if isinstance(output, Tensor) and output.dim() != 4:
        return _cut(model, image_size)
    return model


def _planned(backbone: Network, plan: PoolingPlan) -> nn.Module:
    """Return a copy with the plan in it, if that changes anything."""
    traced = read_model(backbone, plan.input_size)
    return copy.deepcopy(traced.model) if _keeps_all(traced, plan) else apply_plan(traced, plan).model


def _keeps_all(backbone: TracedModel, plan: PoolingPlan) -> bool:
    """Whether the plan is the network as it is, as the strided baseline at its own strides."""
    reductions = {site.name: site.reduction for site in supported_sites(backbone, plan.input_size)}
    return all(entry.pool_stride == 1 and entry.conv_stride == reductions.get(entry.site) for entry in plan.sites)


def _triple(image_size: InputSize) -> tuple[int, int, int]:
    return (3, image_size, image_size) if isinstance(image_size, int) else image_size


def _cut(model: nn.Module, image_size: InputSize) -> nn.Module:
    """Return a traced classifier up to its last map of every resolution, the maps in a list."""
    traced = trace(model, image_size)
    module, last = traced.module, dict[tuple[int, ...], fx.Node]()
    for node in module.graph.nodes:
        side = traced.shapes.get(node.name, ())[2:]
        if node.op != "placeholder" and len(side) == 2 and max(side) > 1:
            last[side] = node
    last.pop(_triple(image_size)[1:], None)  # what has the image's own size is not reduced yet
    (output,) = [node for node in module.graph.nodes if node.op == "output"]
    output.args = (list(last.values()),)
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()
    return module


def plan_backbone(
    backbone: Network,
    image_size: InputSize,
    pool: str = "self_attentive",
    strides: Sequence[int | tuple[int, int]] | None = None,
    placement: str = "group-start",
    **pool_kwargs: object,
) -> PoolingPlan:
    """Plan a detector's backbone: as :func:`sapool.make_plan`, with what large images ask for.

    The first site's convolution stays strided (a pool there would run on the whole image), pools stand before the
    block that shrank, whose convolutions then work on the small map, and a self-attentive pool's patch is its stride:
    with its keys capped (``max_keys``) its cost is linear in the pixels, and its parameters don't grow with the image.

    Args:
        backbone: a network, or its trace.
        image_size: an int (square, 3 channels) or (C, H, W).
        pool: a name of :func:`sapool.list_pools`.
        strides: one entry a site, as of :func:`sapool.make_plan`; a whole number for the first is its convolution's.
        placement: as of :func:`sapool.make_plan`.
        **pool_kwargs: keywords for every pool.

    Returns:
        The plan.

    Raises:
        ValueError: as :func:`sapool.make_plan`.
    """
    traced = read_model(backbone, image_size)
    kept = make_plan(traced, image_size, "strided")
    given = [site.conv_stride for site in kept.sites] if strides is None else strides
    chosen = [(stride, 1) if index == 0 and isinstance(stride, int) else stride for index, stride in enumerate(given)]
    plan = make_plan(traced, image_size, pool, chosen, placement, **pool_kwargs)
    if pool != "self_attentive" or {"patch_size", "window_norm"} & pool_kwargs.keys():
        return plan
    patched = (
        replace(site, kwargs={**site.kwargs, "patch_size": site.pool_stride}) if site.pool_stride > 1 else site
        for site in plan.sites
    )
    return replace(plan, sites=tuple(patched))
