"""A detector's backbone on a micro-controller: the heads are not in these figures."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sapool.detection.features import FeatureMaps, planned_features
from sapool.graph import InputSize
from sapool.memory import MemoryProfile
from sapool.profiling import profile_memory
from sapool.records import PoolingPlan


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
