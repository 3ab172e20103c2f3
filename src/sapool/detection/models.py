"""Detectors on any backbone, its down-sampling as planned: torchvision's heads, with the backbone's real strides.

Faster R-CNN (Ren et al., NeurIPS 2015, arXiv 1506.01497) and RetinaNet (Lin et al., ICCV 2017, arXiv 1708.02002) with a
feature pyramid (FPN), and SSDLite (Sandler et al., CVPR 2018, arXiv 1801.04381); ``small`` is an SSDLite of few boxes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from sapool.base.records import PoolingPlan
from sapool.base.suggest import suggest
from sapool.detection.anchors import StrideAnchors, StrideRoIAlign, box_scales
from sapool.detection.extras import ExtraLevels
from sapool.detection.features import FeatureMaps, planned_features

ImageSize = int | tuple[int, int]
_NORM = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)


def make_detector(
    kind: str,
    backbone: nn.Module,
    num_classes: int,
    *,
    image_size: ImageSize,
    plan: PoolingPlan | None = None,
    levels: int | None = None,
    **kwargs: Any,
) -> nn.Module:
    """Build a detector on ``backbone``; anchors, RoI scales and pyramid follow from its real strides.

    In training the detector takes images, a list of (3, H, W) in [0, 1], and targets, a list of mappings with
    ``boxes`` (K, 4) as (x0, y0, x1, y1) in pixels and ``labels`` (K,) from 1, and returns a mapping of losses; in eval
    mode it takes images and returns a mapping with ``boxes``, ``labels`` and ``scores`` for each.

    Args:
        kind: one of :data:`DETECTORS`.
        backbone: a network that returns maps, as timm's ``features_only`` ones, or a classifier, which is cut behind
            its last map of every resolution. It is copied.
        num_classes: classes without the background, which is label 0.
        image_size: what images are resized to. ``fasterrcnn`` and ``retinanet``: the shorter side, or (shorter side,
            limit of the longer side), the shape being kept; ``ssdlite`` and ``small``: the side of a square, or
            (height, width).
        plan: the backbone's plan (:func:`plan_backbone`); None leaves its down-sampling as it is.
        levels: how many of the backbone's coarsest maps are read; default 4 (``fasterrcnn``), 3 (``retinanet``) or 2.
        **kwargs: keywords of the kind: ``anchor_strides`` (side of the smallest anchor, in strides) and
            ``aspect_ratios``; of the pyramids ``fpn_channels``; of ``ssdlite`` and ``small`` ``extra_channels`` (of the
            levels they add) and ``largest_box`` (a share of the image); and whatever torchvision's class of the
            detector takes (``image_mean``, ``box_score_thresh``, ...).

    Returns:
        torchvision's ``FasterRCNN``, ``RetinaNet`` or ``SSD``; ``backbone.strides`` has the stride of every level.

    Raises:
        ValueError: an unknown kind, a value out of its range, or a backbone whose maps have no stride.
    """
    if kind not in DETECTORS:
        raise ValueError(f"unknown detector {kind!r}: {suggest(kind, list(DETECTORS))}")
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1 (the background is not counted), got {num_classes}")
    short, long = _sides(kind, image_size)
    features = planned_features(backbone, (3, short, long), plan)
    build, default_levels = DETECTORS[kind]
    known = len(FeatureMaps(features).levels)
    maps = FeatureMaps(features, min(default_levels, known) if levels is None else levels)
    return build(maps, num_classes, (short, long), **kwargs)


def _sides(kind: str, image_size: ImageSize) -> tuple[int, int]:
    first, second = (image_size, image_size) if isinstance(image_size, int) else image_size
    if min(first, second) < 1 or (kind not in _FIXED and first > second):
        raise ValueError(
            f"image_size of {kind} must be an int or "
            + ("(height, width)" if kind in _FIXED else "(shorter side, limit of the longer side)")
            + f", in pixels, got {image_size}"
        )
    return first, second


class Pyramid(nn.Module):
    """A feature pyramid over a backbone's maps.

    Attributes:
        strides: of every level it returns, in pixels.
        out_channels: of every level.
    """

    def __init__(self, maps: FeatureMaps, out_channels: int, extra: nn.Module, extra_levels: int) -> None:
        super().__init__()
        self.body = maps
        self.fpn = FeaturePyramidNetwork([level.channels for level in maps.levels], out_channels, extra)
        self.out_channels = out_channels
        own = [level.stride for level in maps.levels]
        self.strides = (*own, *(own[-1] * 2 ** (k + 1) for k in range(extra_levels)))  # the extra ones halve

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Images (N, C, H, W) -> levels (N, out_channels, H / stride, W / stride), finest first."""
        return self.fpn(self.body(x))


def _fasterrcnn(
    maps: FeatureMaps,
    num_classes: int,
    sides: tuple[int, int],
    fpn_channels: int = 256,
    anchor_strides: float = 8,
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0),
    **kwargs: Any,
) -> nn.Module:
    backbone = Pyramid(maps, fpn_channels, LastLevelMaxPool(), 1)
    anchors = StrideAnchors(backbone.strides, anchor_strides, aspect_ratios=aspect_ratios)
    own = [level.stride for level in maps.levels]
    return FasterRCNN(
        backbone,
        num_classes + 1,
        *sides,
        rpn_anchor_generator=anchors,
        rpn_head=RPNHead(fpn_channels, anchors.num_anchors_per_location()[0]),
        box_roi_pool=StrideRoIAlign(own),
        **({"size_divisible": own[-1]} | kwargs),
    )


def _retinanet(
    maps: FeatureMaps,
    num_classes: int,
    sides: tuple[int, int],
    fpn_channels: int = 256,
    anchor_strides: float = 4,
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0),
    **kwargs: Any,
) -> nn.Module:
    # The levels it adds come from the deepest map of the backbone, as in the paper, unless its channels allow both.
    extra = LastLevelP6P7(maps.levels[-1].channels, fpn_channels)
    backbone = Pyramid(maps, fpn_channels, extra, 2)
    anchors = StrideAnchors(backbone.strides, anchor_strides, 3, aspect_ratios)
    divisible = {"size_divisible": maps.levels[-1].stride}
    return RetinaNet(backbone, num_classes + 1, *sides, anchor_generator=anchors, **(divisible | kwargs))


def _ssdlite(
    maps: FeatureMaps,
    num_classes: int,
    sides: tuple[int, int],
    extra_channels: tuple[int, ...] = (512, 256, 256, 128),
    anchor_strides: float = 4,
    largest_box: float = 0.95,
    aspect_ratios: tuple[float, ...] = (2.0, 3.0),
    **kwargs: Any,
) -> nn.Module:
    backbone = ExtraLevels(maps, extra_channels, sides, _NORM)
    scales = box_scales(backbone.strides, min(sides), anchor_strides, largest_box)
    # Without steps of its own it spreads the boxes over each map as that map comes out.
    boxes = DefaultBoxGenerator([list(aspect_ratios)] * len(backbone.strides), scales=scales)
    head = SSDLiteHead(list(backbone.channels), boxes.num_anchors_per_location(), num_classes + 1, _NORM)
    # torchvision's values for SSDLite; its image_mean and image_std take [0, 1] to [-1, 1].
    defaults = {
        "score_thresh": 0.001,
        "nms_thresh": 0.55,
        "detections_per_img": 300,
        "topk_candidates": 300,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    height, width = sides
    return SSD(backbone, boxes, (width, height), num_classes + 1, head=head, **(defaults | kwargs))


# One size of square boxes and the one between it and the next a level, no levels of its own: for small images of
# objects of one kind of size, in a network that two cores can train.
_small = partial(
    _ssdlite,
    extra_channels=(),
    anchor_strides=3,
    largest_box=0.3125,
    aspect_ratios=(),
    topk_candidates=100,
    detections_per_img=100,
)

_FIXED = ("ssdlite", "small")  # images are stretched to one size
Build = Callable[..., nn.Module]
# What builds each, and how many of the backbone's maps it reads.
DETECTORS: dict[str, tuple[Build, int]] = {
    "fasterrcnn": (_fasterrcnn, 4),
    "retinanet": (_retinanet, 3),
    "ssdlite": (_ssdlite, 2),
    "small": (_small, 2),
}
