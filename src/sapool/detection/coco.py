"""Detection data in COCO's format: folders as they are published, and writing such folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from sapool.base.files import write_bytes_atomically, write_text_atomically
from sapool.detection.annotation_file import read_annotations
from sapool.detection.boxes import BoxDataset, CocoAnnotations, Target, annotations_of, make_target
from sapool.detection.image_files import as_bytes, encode_png, read_image


class CocoBoxes(Dataset[tuple[Tensor, Target]]):
    """Images and boxes of one COCO annotation file, all checked before the first is used.

    Args:
        annotations: an ``instances_*.json``.
        image_folder: where its images are.
        classes: names of the classes to keep, label 1 first; default all, in the order of their ids. Images with none
            of them stay, without objects.
        skip_bad: leave out and count (:attr:`skipped`) what breaks a rule of :func:`read_annotations`.
        decode: decode every image now, in threads, so that none can fail in training.

    Attributes:
        classes: names, label 1 first.
        category_ids: COCO's category of every label.
        skipped: how many images and annotations were left out, by rule.

    Raises:
        ValueError: the first thing that breaks a rule: the file, the id and the rule.
    """

    def __init__(
        self,
        annotations: str | Path,
        image_folder: str | Path,
        *,
        classes: Sequence[str] | None = None,
        skip_bad: bool = False,
        decode: bool = True,
    ) -> None:
        self._file = read_annotations(annotations, image_folder, classes=classes, skip_bad=skip_bad, decode=decode)
        self.category_ids = tuple(number for number, _ in self._file.categories)
        self.classes = tuple(name for _, name in self._file.categories)
        self.skipped = self._file.skipped
        self._label = {number: label for label, number in enumerate(self.category_ids, 1)}

    def __len__(self) -> int:
        return len(self._file.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        """Return image ``index`` (3, H, W) float32 in [0, 1], turned to RGB, and its target, crowds included.

        Raises:
            ValueError: its file has changed since it was checked and does not decode any more.
        """
        return read_image(self._file.images[index].path), self.target(index)

    def target(self, index: int) -> Target:
        """Return the target of image ``index`` without reading its file."""
        image = self._file.images[index]
        boxes = [(x, y, x + width, y + height) for x, y, width, height in (o.bbox for o in image.objects)]
        return make_target(
            boxes,
            [self._label[o.category_id] for o in image.objects],
            image.id,
            [o.iscrowd for o in image.objects],
            [o.area for o in image.objects],
        )

    def annotations(self) -> CocoAnnotations:
        """Return the checked annotations of the chosen classes, as COCO's evaluator takes them."""
        images, objects = list[dict[str, Any]](), list[dict[str, Any]]()
        for image in self._file.images:
            name, size = image.path.name, {"width": image.width, "height": image.height}
            images.append({"id": image.id, "file_name": name, **size})
            objects += [
                {
                    "id": o.id,
                    "image_id": image.id,
                    "category_id": o.category_id,
                    "bbox": list(o.bbox),
                    "area": o.area,
                    "iscrowd": o.iscrowd,
                }
                for o in image.objects
            ]
        pairs = zip(self.category_ids, self.classes, strict=True)
        return {
            "images": images,
            "annotations": objects,
            "categories": [{"id": number, "name": name} for number, name in pairs],
        }


class PartOf(Dataset[tuple[Tensor, Target]]):
    """Some images of a :class:`CocoBoxes`, by index."""

    def __init__(self, whole: CocoBoxes, indices: Sequence[int]) -> None:
        self.whole, self.indices = whole, tuple(indices)
        self.classes, self.category_ids = whole.classes, whole.category_ids

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        """Return the image and target of the part's ``index``."""
        return self.whole[self.indices[index]]

    def annotations(self) -> CocoAnnotations:
        """Return the checked annotations of these images."""
        every = self.whole.annotations()
        kept = {every["images"][index]["id"] for index in self.indices}
        return {
            "images": [image for image in every["images"] if image["id"] in kept],
            "annotations": [entry for entry in every["annotations"] if entry["image_id"] in kept],
            "categories": every["categories"],
        }


def ground_truth(dataset: BoxDataset) -> CocoAnnotations:
    """Return a data set's COCO annotations: those it was read from, or of the boxes it draws."""
    return dataset.annotations() if isinstance(dataset, CocoBoxes | PartOf) else annotations_of(dataset)


def write_coco(dataset: BoxDataset, folder: str | Path, split: str = "train") -> Path:
    """Write a data set as a COCO folder: ``SPLIT/*.png`` and ``annotations/instances_SPLIT.json``.

    The annotation file comes last, under a temporary name first: where it is, the split is whole.

    Args:
        dataset: the data set.
        folder: where; made if it is missing.
        split: name of the split.

    Returns:
        The annotation file.

    Raises:
        ValueError: the folder has this split already.
    """
    root = Path(folder)
    path = root / "annotations" / f"instances_{split}.json"
    if path.exists():
        raise ValueError(f"{path} exists: choose another folder or split, or remove it first")
    (root / split).mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    annotations = annotations_of(dataset)
    for index, entry in enumerate(annotations["images"]):
        image, _ = dataset[index]
        write_bytes_atomically(root / split / entry["file_name"], encode_png(as_bytes(image)))
    write_text_atomically(path, json.dumps({"info": {"description": f"sapool: {split}"}, **annotations}))
    return path


def find_coco(folder: str | Path) -> dict[str, tuple[Path, Path]]:
    """Find the splits of a COCO folder.

    A split's annotations are ``annotations/instances_SPLIT.json``; its images are in ``SPLIT/``, ``images/SPLIT/`` or
    ``images/``, whichever is there first.

    Returns:
        (annotation file, image folder) by split, as ``train2017``.

    Raises:
        ValueError: no such folder, no annotation files in it, or no folder with a split's images.
    """
    root = Path(folder)
    files = sorted((root / "annotations").glob("instances_*.json"))
    if not files:
        raise ValueError(f"{root}: not a COCO folder: there is no annotations/instances_*.json in it")
    found = {}
    for path in files:
        split = path.stem.removeprefix("instances_")
        places = [root / split, root / "images" / split, root / "images"]
        existing = [place for place in places if place.is_dir()]
        if not existing:
            raise ValueError(f"{path}: its images must be in one of {', '.join(str(place) for place in places)}")
        found[split] = (path, existing[0])
    return found
