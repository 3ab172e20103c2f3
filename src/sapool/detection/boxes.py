"""What every detection data set gives: images with targets, and COCO annotations of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypedDict

import torch
from torch import Tensor

CocoAnnotations = dict[str, Any]


class Target(TypedDict):
    """What is on an image; K objects.

    Attributes:
        boxes: (K, 4) float32, (x0, y0, x1, y1) in pixels.
        labels: (K,) int64, from 1.
        image_id: () int64, COCO's.
        iscrowd: (K,) int64, 1 where a box holds a crowd that is neither to be found nor counted as wrong.
        area: (K,) float32, COCO's, in square pixels: the object's, not always its box's.
    """

    boxes: Tensor
    labels: Tensor
    image_id: Tensor
    iscrowd: Tensor
    area: Tensor


class BoxDataset(Protocol):
    """A map-style data set of (image (3, H, W) float32 in [0, 1], :class:`Target`)."""

    classes: tuple[str, ...]
    category_ids: tuple[int, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Tensor, Target]: ...


def make_target(
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int],
    image_id: int,
    iscrowd: Sequence[int] | None = None,
    area: Sequence[float] | None = None,
) -> Target:
    """Return a target of plain numbers; by default there is no crowd, and an object's area is its box's."""
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    sides = corners[:, 2:] - corners[:, :2]
    return Target(
        boxes=corners,
        labels=torch.tensor(labels, dtype=torch.int64),
        image_id=torch.tensor(image_id),
        iscrowd=torch.zeros(len(boxes), dtype=torch.int64) if iscrowd is None else torch.tensor(iscrowd),
        area=sides.prod(1) if area is None else torch.tensor(area, dtype=torch.float32),
    )


def without_crowds(target: Target) -> Target:
    """Return the target of what is to be found: crowds left out."""
    kept = target["iscrowd"] == 0
    return Target(
        boxes=target["boxes"][kept],
        labels=target["labels"][kept],
        image_id=target["image_id"],
        iscrowd=target["iscrowd"][kept],
        area=target["area"][kept],
    )


def collate(items: Sequence[tuple[Tensor, Target]]) -> tuple[list[Tensor], list[Target]]:
    """Gather a batch as torchvision's detectors take it: images of any sizes and their targets, in two lists."""
    return [image for image, _ in items], [target for _, target in items]


def annotations_of(dataset: BoxDataset) -> CocoAnnotations:
    """Return COCO annotations (``images``, ``annotations``, ``categories``) of a data set, as it is drawn."""
    images, annotations = list[dict[str, Any]](), list[dict[str, Any]]()
    for index in range(len(dataset)):
        image, target = dataset[index]
        image_id = int(target["image_id"])
        images.append(
            {"id": image_id, "file_name": f"{image_id:012d}.png", "width": image.shape[2], "height": image.shape[1]}
        )
        for box, label, crowd, area in zip(
            target["boxes"].tolist(),
            target["labels"].tolist(),
            target["iscrowd"].tolist(),
            target["area"].tolist(),
            strict=True,
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": dataset.category_ids[label - 1],
                    "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                    "area": area,
                    "iscrowd": crowd,
                }
            )
    pairs = zip(dataset.category_ids, dataset.classes, strict=True)
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in pairs],
    }
