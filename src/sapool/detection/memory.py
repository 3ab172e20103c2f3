"""A detector's backbone on a micro-controller: the heads are not in these figures."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sapool.base.image_size import InputSize
from sapool.base.records import ArenaRecord, PoolingPlan
from sapool.detection.features import FeatureMaps, planned_features
from sapool.export import export_int8, measure_arena
from sapool.memory import MemoryProfile
from sapool.predict.profile import profile_memory


class JoinedMaps(nn.Module):
    """A backbone's maps as one row of numbers, (N, sum of H W C), which :func:`sapool.export_int8` can write.

    Every map stays in memory until the last is there, as it would for a detector's heads; joining them costs one copy
    more of them all, so that its arena is an upper bound.
    """

    def __init__(self, maps: FeatureMaps) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) -> (N, numbers), each map channel-last."""
        # Channel-last is how the exported network holds them: in this order no transposition is needed.
        return torch.cat([x.permute(0, 2, 3, 1).flatten(1) for x in self.maps(x).values()], 1)


def profile_backbone(
    backbone: nn.Module, image_size: InputSize, plan: PoolingPlan | None = None, levels: int | None = None
) -> MemoryProfile:
    """Predict the arena of a detector's backbone as int8: from the image to the maps its heads read, these included.

    Args:
        backbone: a network that returns maps, or a classifier, which is cut behind its last map of every resolution.
        image_size: an int (square, 3 channels) or (C, H, W).
        plan: the backbone's plan; None leaves its down-sampling as it is.
        levels: how many of its coarsest maps the heads read; default all.

    Returns:
        The profile; compare backbones, not whole detectors, by it.

    Raises:
        ValueError: the plan is for another network, or torch.fx can't trace it.
    """
    return profile_memory(FeatureMaps(planned_features(backbone, image_size, plan), levels).eval(), image_size)


def export_backbone(detector: nn.Module, images: Iterable[Tensor], path: str | Path) -> ArenaRecord:
    """Write a detector's backbone, up to the maps its heads read, as int8, and measure it on TensorFlow Lite Micro.

    Args:
        detector: of :func:`make_detector`, in eval mode; left as it is.
        images: (1, 3, H, W) in [0, 1], all of one size; the detector's normalisation is applied.
        path: of the ``.tflite`` file.

    Returns:
        The arena of the backbone with its maps joined (:class:`JoinedMaps`); heads and box picking are not in it.

    Raises:
        ExportError: the backbone can't be exported.
        InterpreterError: TensorFlow Lite Micro refuses the file.
    """
    maps = next(module for module in detector.modules() if isinstance(module, FeatureMaps))
    transform: Any = detector.get_submodule("transform")
    seen = (transform.normalize(image[0])[None] for image in images)
    export_int8(JoinedMaps(copy.deepcopy(maps)).eval(), seen, path)
    return measure_arena(path)
