"""Anchors, sizes of default boxes and RoI scales from a backbone's real strides.

torchvision infers them while running, from map and image sizes: right where every stride is a power of two that divides
the padded image, wrong elsewhere (a map of 13 rows under 800 pixels counts as stride 61). Here they are given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign

# In torchvision's detectors a level of stride 4 has anchors of 32 px (FPN: Lin et al., CVPR 2017, arXiv 1612.03144).
ANCHOR_STRIDES = 8
# A box of 224 x 224 px, ImageNet's size, is pooled from the level of stride 16 (the same paper, equation 1).
_CANONICAL_BOX, _CANONICAL_STRIDE = 224, 16


class StrideAnchors(AnchorGenerator):
    """Anchors on a grid of a level's real stride, of sizes proportional to it.

    Args:
        strides: of every level, in pixels.
        anchor_strides: side of the smallest anchor, in strides.
        octave_sizes: sizes a level, each 2^(1 / octave_sizes) times the one before (RetinaNet: 3).
        aspect_ratios: heights over widths.
    """

    def __init__(
        self,
        strides: Sequence[int],
        anchor_strides: float = ANCHOR_STRIDES,
        octave_sizes: int = 1,
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
    ) -> None:
        sizes = [
            tuple(int(stride * anchor_strides * 2 ** (k / octave_sizes)) for k in range(octave_sizes))
            for stride in strides
        ]
        super().__init__(tuple(sizes), (tuple(aspect_ratios),) * len(sizes))
        self.strides = tuple(strides)

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Return each image's anchors (K, 4), as (x0, y0, x1, y1) in pixels, level by level, row by row."""
        first = feature_maps[0]
        self.set_cell_anchors(first.dtype, first.device)
        grids = [list(x.shape[-2:]) for x in feature_maps]
        steps = [[torch.tensor(stride, device=first.device)] * 2 for stride in self.strides]
        anchors = torch.cat(self.grid_anchors(grids, steps))
        return [anchors for _ in image_list.image_sizes]


def box_scales(strides: Sequence[int], side: int, anchor_strides: float = 4, largest: float = 0.95) -> list[float]:
    """Return the scales of SSD's default boxes: from ``anchor_strides`` finest strides up to ``largest``, evenly.

    For SSDLite at 320 px (finest stride 16, six levels) these are torchvision's 0.2 ... 0.95, and 1 at the end.

    Args:
        strides: of every level, in pixels.
        side: the image's shorter side, in pixels.
        anchor_strides: the smallest box, in finest strides.
        largest: the largest box, as a share of the image.
    """
    smallest = min(anchor_strides * strides[0] / side, largest)
    if len(strides) == 1:
        return [smallest, largest]
    step = (largest - smallest) / (len(strides) - 1)
    return [*(smallest + step * k for k in range(len(strides))), 1.0]


class StrideLevels:
    """Which level a box is pooled from: the coarsest whose stride suits the box's size (FPN, equation 1).

    Args:
        strides: of every level, in pixels.
    """

    def __init__(self, strides: Sequence[int]) -> None:
        self._log_strides = [math.log2(stride) for stride in strides]

    def __call__(self, boxes: list[Tensor]) -> Tensor:
        """Return the level (K,) of all images' boxes (K_i, 4) in one row."""
        sides = torch.cat([((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])).sqrt() for b in boxes])
        wanted = torch.log2(sides / _CANONICAL_BOX * _CANONICAL_STRIDE) + 1e-6
        strides = torch.tensor(self._log_strides, device=wanted.device)
        return ((strides <= wanted[:, None]).sum(1) - 1).clamp(min=0)


class StrideRoIAlign(MultiScaleRoIAlign):
    """RoI Align over levels of given strides; nothing is inferred from the first batch.

    Args:
        strides: of every level, in pixels, finest first.
        output_size: side of a pooled box, in cells.
        sampling_ratio: samples a cell and direction.
    """

    def __init__(self, strides: Sequence[int], output_size: int = 7, sampling_ratio: int = 2) -> None:
        super().__init__([str(k) for k in range(len(strides))], output_size, sampling_ratio)
        self.strides = tuple(strides)
        self.scales = [1 / stride for stride in strides]
        self.map_levels = StrideLevels(strides)
