"""Augmentations of images with boxes, by name; an item's randomness depends on (seed, index) alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from sapool.base.suggest import suggest
from sapool.detection.boxes import BoxDataset, Target, without_crowds

# In the order in which they are applied, whatever order they are given in: that of SSD's paper and of torchvision's
# reference (photometric, zoom out, crop, flip).
BOX_AUGMENTATIONS: dict[str, Callable[[], v2.Transform]] = {
    "photometric": v2.RandomPhotometricDistort,
    "zoom_out": v2.RandomZoomOut,
    "iou_crop": v2.RandomIoUCrop,
    "flip": v2.RandomHorizontalFlip,
}
_SEED_STEP = 1_000_003


class AugmentedBoxes(Dataset[tuple[Tensor, Target]]):
    """``epochs`` passes over a data set, each item augmented anew; crowds are left out, as a detector can't learn them.

    Item i is image i modulo the data set's length, changed by randomness that depends on (seed, i) alone: a run that
    was broken off sees the same images again.

    Args:
        dataset: the images.
        names: of :data:`BOX_AUGMENTATIONS`.
        epochs: passes.
        seed: of the augmentations.

    Raises:
        ValueError: an unknown name (with the nearest), or no epoch.
    """

    def __init__(self, dataset: BoxDataset, names: Sequence[str] = (), *, epochs: int = 1, seed: int = 0) -> None:
        for name in names:
            if name not in BOX_AUGMENTATIONS:
                raise ValueError(f"unknown augmentation {name!r}: {suggest(name, list(BOX_AUGMENTATIONS))}")
        if epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {epochs}")
        self.dataset, self.epochs, self.seed = dataset, epochs, seed
        self.classes, self.category_ids = dataset.classes, dataset.category_ids
        steps = [make() for name, make in BOX_AUGMENTATIONS.items() if name in names]
        self._transform = v2.Compose([*steps, v2.SanitizeBoundingBoxes(labels_getter=_fields)]) if steps else None

    def __len__(self) -> int:
        return len(self.dataset) * self.epochs

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        """Return item ``index``: image (3, H, W) float32 in [0, 1] and its target."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index must be under {len(self)}, got {index}")
        index %= len(self)
        image, target = self.dataset[index % len(self.dataset)]
        target = without_crowds(target)
        if self._transform is None:
            return image, target
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed * _SEED_STEP + index)
            return augment_item(self._transform, image, target)


def _fields(sample: Any) -> tuple[Tensor, ...]:
    """Return what belongs to the boxes one by one, and goes when a box goes."""
    _, target = sample
    return target["labels"], target["iscrowd"], target["area"]


def augment_item(transform: Callable[..., Any], image: Tensor, target: Target) -> tuple[Tensor, Target]:
    """Apply a torchvision transform (``transforms.v2``) to an image and its boxes; areas scale as their boxes do."""
    before = _areas(target["boxes"])
    size = (image.shape[1], image.shape[2])
    boxes = tv_tensors.BoundingBoxes(target["boxes"], format="XYXY", canvas_size=size)
    # What share of its box an object fills stays; the box may be cut and enlarged.
    sample = {**target, "boxes": boxes, "area": target["area"] / before}
    changed, found = transform(tv_tensors.Image(image), sample)
    corners = found["boxes"].as_subclass(Tensor)
    return changed.as_subclass(Tensor), Target(
        boxes=corners,
        labels=found["labels"],
        image_id=found["image_id"],
        iscrowd=found["iscrowd"],
        area=found["area"] * _areas(corners),
    )


def _areas(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
