from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import roi_align
from torchvision.ops.poolers import LevelMapper

from sapool.detection.anchors import StrideAnchors, StrideLevels, StrideRoIAlign, box_scales


def naive_anchors(strides: list[int], grids: list[tuple[int, int]], times: float, ratios: list[float]) -> Tensor:
    found = []
    for stride, (rows, columns) in zip(strides, grids, strict=True):
        for row in range(rows):
            for column in range(columns):
                for ratio in ratios:
                    side = stride * times
                    h, w = side * math.sqrt(ratio), side / math.sqrt(ratio)
                    halves = [round(v / 2) for v in (-w, -h, w, h)]
                    x, y = column * stride, row * stride
                    found.append([x + halves[0], y + halves[1], x + halves[2], y + halves[3]])
    return torch.tensor(found, dtype=torch.float32)


@pytest.mark.parametrize("strides", [[8, 16], [16, 32], [6, 12]])
def test_anchors_lie_on_the_real_grid_also_where_the_map_is_rounded_up(strides: list[int]) -> None:
    grids = [(5, 7), (3, 4)]  # 3 rows stand for 2.5
    maps = [torch.zeros(1, 1, *grid) for grid in grids]
    images = ImageList(torch.zeros(2, 3, 5 * strides[0], 7 * strides[0]), [(5 * strides[0], 7 * strides[0])] * 2)
    first, second = StrideAnchors(strides, 4, aspect_ratios=(0.5, 1.0))(images, maps)
    torch.testing.assert_close(first, naive_anchors(strides, grids, 4, [0.5, 1.0]))
    torch.testing.assert_close(first, second)


def test_sizes_are_torchvisions_at_its_own_strides() -> None:
    assert StrideAnchors([4, 8, 16, 32, 64], 8).sizes == ((32,), (64,), (128,), (256,), (512,))
    retinanet = StrideAnchors([8, 16], 4, 3).sizes
    assert retinanet == tuple((x, int(x * 2 ** (1 / 3)), int(x * 2 ** (2 / 3))) for x in (32, 64))


def test_ssdlite_at_320_px_has_torchvisions_scales() -> None:
    own = [0.2 + 0.75 * k / 5 for k in range(6)] + [1.0]
    assert box_scales([16, 32, 64, 128, 256, 512], 320) == pytest.approx(own)
    assert box_scales([32, 64], 320)[0] == pytest.approx(2 * own[0])
    assert box_scales([8], 128, 3, 0.5) == [24 / 128, 0.5]


def test_boxes_go_to_the_levels_of_the_pyramids_paper() -> None:
    sides = torch.tensor([10.0, 55, 57, 111, 113, 223, 225, 447, 449, 2000])
    boxes = torch.stack([torch.zeros(10), torch.zeros(10), sides, sides], 1)
    expected = LevelMapper(2, 5)([boxes])
    assert StrideLevels([4, 8, 16, 32])([boxes[:4], boxes[4:]]).tolist() == expected.tolist()
    # The same boxes where the finest level has stride 16: it takes what finer ones would have.
    assert StrideLevels([16, 32])([boxes]).tolist() == (expected - 2).clamp(min=0).tolist()


def test_rois_are_pooled_at_the_real_scale() -> None:
    pool = StrideRoIAlign([6, 12], output_size=2)
    maps = {"0": torch.rand(1, 3, 20, 20), "1": torch.rand(1, 3, 10, 10), "pool": torch.rand(1, 3, 5, 5)}
    box = torch.tensor([[6.0, 12, 60, 66]])
    rois = torch.cat([torch.zeros(1, 1), box], 1)
    # An image of 113 px, padded to 120: torchvision would take 1/8 or 1/4 for the scale.
    torch.testing.assert_close(pool(maps, [box], [(113, 113)]), roi_align(maps["0"], rois, 2, 1 / 6, 2))
