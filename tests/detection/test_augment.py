from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sapool.detection import BOX_AUGMENTATIONS, AugmentedBoxes, ScatteredBoxes, Target, make_target


class Marked:
    """Images with one white square, whose box is known, and a crowd."""

    classes: tuple[str, ...] = ("square",)
    category_ids: tuple[int, ...] = (1,)

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        image = torch.zeros(3, 60, 80)
        x, y = 3 + index, 5 + index
        image[:, y : y + 20, x : x + 30] = 1
        boxes = [(x, y, x + 30, y + 20), (0, 0, 80, 60)]
        return image, make_target(boxes, [1, 1], index + 1, [0, 1], [300.0, 4800.0])


@pytest.mark.parametrize("names", [["flip"], ["zoom_out"], ["iou_crop"], ["flip", "iou_crop", "zoom_out"]])
def test_boxes_follow_the_pixels(names: list[str]) -> None:
    data = AugmentedBoxes(Marked(), names, epochs=2)
    changed = 0
    for index in range(len(data)):
        image, target = data[index]
        assert target["iscrowd"].tolist() == [0] * len(target["labels"])
        for box, area in zip(target["boxes"], target["area"], strict=True):
            lit = (image[0] > 0.5).nonzero()
            corners = [*lit.min(0).values.flip(0).tolist(), *(lit.max(0).values.flip(0) + 1).tolist()]
            assert box.tolist() == pytest.approx(corners, abs=1)
            assert float(area) == pytest.approx(float((box[2] - box[0]) * (box[3] - box[1])) / 2, rel=1e-4)
        own, _ = Marked()[index % 20]
        changed += image.shape != own.shape or not torch.equal(image, own)
    assert changed > 5


def test_an_item_depends_on_seed_and_index_alone() -> None:
    names = list(BOX_AUGMENTATIONS)
    data = AugmentedBoxes(ScatteredBoxes("train", 64, 4), names, epochs=3, seed=5)
    state = torch.random.get_rng_state()
    first = data[6]
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(3)
    again = AugmentedBoxes(ScatteredBoxes("train", 64, 4), names[::-1], epochs=3, seed=5)[6]
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1]["boxes"], again[1]["boxes"])
    other = AugmentedBoxes(ScatteredBoxes("train", 64, 4), names, epochs=3, seed=6)[6]
    assert first[0].shape != other[0].shape or not torch.equal(first[0], other[0])
    assert first[0].shape != data[10][0].shape or not torch.equal(first[0], data[10][0])
    assert float(first[0].min()) >= 0
    assert float(first[0].max()) <= 1


def test_without_names_only_crowds_go() -> None:
    data = AugmentedBoxes(Marked(), epochs=2)
    image, target = data[23]
    assert torch.equal(image, Marked()[3][0])
    assert target["boxes"].tolist() == [[6, 8, 36, 28]]
    with pytest.raises(IndexError):
        data[40]


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="unknown augmentation 'flop': did you mean flip"):
        AugmentedBoxes(Marked(), ["flop"])
    with pytest.raises(ValueError, match="epochs must be at least 1"):
        AugmentedBoxes(Marked(), epochs=0)
