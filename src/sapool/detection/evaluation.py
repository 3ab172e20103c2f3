"""Average precision as COCO's own evaluator computes it (pycocotools), in records.

AP is the mean over the IoU thresholds 0.50, 0.55, ..., 0.95 and over classes; small, medium and large are objects of
under 32^2, 32^2 to 96^2 and over 96^2 square pixels (Lin et al., ECCV 2014, arXiv 1405.0312, and cocodataset.org).
"""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sapool.base.extras import require
from sapool.base.files import write_text_atomically
from sapool.detection.boxes import BoxDataset, CocoAnnotations
from sapool.networks.traced import evaluating

CocoResult = dict[str, Any]
_IMAGES_A_BATCH = 16
_PURPOSE = "COCO evaluation"


@dataclass(frozen=True)
class ClassPrecision:
    """One class's average precision; None where it has no object to find.

    Attributes:
        name: the class.
        objects: how many there are to find, crowds not counted.
        ap: over IoU 0.50 to 0.95.
        ap50: at IoU 0.50.
    """

    name: str
    objects: int
    ap: float | None
    ap50: float | None


@dataclass(frozen=True)
class DetectionRecord:
    """COCO's figures, fractions in [0, 1]; None where there is no object of that kind to find.

    Attributes:
        ap: over IoU 0.50 to 0.95.
        ap50: at IoU 0.50.
        ap75: at IoU 0.75.
        ap_small: of objects under 32^2 square pixels.
        ap_medium: of those up to 96^2.
        ap_large: of those over 96^2.
        images: how many were looked at.
        classes: a line a class.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    images: int
    classes: tuple[ClassPrecision, ...]

    def to_json(self) -> str:
        """Return the record as JSON text."""
        return json.dumps(asdict(self), indent=2)


def detect(
    model: nn.Module, dataset: BoxDataset, batch_size: int = _IMAGES_A_BATCH, *, batches: Iterable[Any] | None = None
) -> list[CocoResult]:
    """Run a detector over a data set.

    Args:
        model: a detector: in eval mode, a list of images -> a list of ``boxes``, ``labels`` and ``scores``.
        dataset: the images, with their classes.
        batch_size: images a step.
        batches: the data set as a loader of (images, targets), if it is to be read by several processes.

    Returns:
        What it found, as COCO results: ``image_id``, ``category_id``, ``bbox`` (x, y, width, height) and ``score``.
    """
    device = next(model.parameters(), torch.empty(0)).device
    results: list[CocoResult] = []
    with evaluating(model):
        for images, targets in _batches(dataset, batch_size) if batches is None else batches:
            found = model([image.to(device) for image in images])
            for prediction, target in zip(found, targets, strict=True):
                results += as_coco_results(prediction, int(target["image_id"]), dataset.category_ids)
    return results


def _batches(dataset: BoxDataset, batch_size: int) -> Iterator[tuple[list[Tensor], list[Any]]]:
    for start in range(0, len(dataset), batch_size):
        items = [dataset[index] for index in range(start, min(start + batch_size, len(dataset)))]
        yield [image for image, _ in items], [target for _, target in items]


def as_coco_results(prediction: Mapping[str, Tensor], image_id: int, category_ids: Sequence[int]) -> list[CocoResult]:
    """Return one image's prediction as COCO results.

    Args:
        prediction: ``boxes`` (K, 4) as (x0, y0, x1, y1), ``labels`` (K,) from 1 and ``scores`` (K,).
        image_id: COCO's.
        category_ids: COCO's category of every label, label 1 first.
    """
    rows = zip(prediction["boxes"].tolist(), prediction["labels"].tolist(), prediction["scores"].tolist(), strict=True)
    return [
        {
            "image_id": image_id,
            "category_id": category_ids[label - 1],
            "bbox": [x0, y0, x1 - x0, y1 - y0],
            "score": score,
        }
        for (x0, y0, x1, y1), label, score in rows
        if label > 0  # RetinaNet can score the background as a class of its own
    ]


def write_results(results: Sequence[CocoResult], path: str | Path) -> None:
    """Write COCO results as JSON, as COCO's server and every other tool reads them."""
    write_text_atomically(Path(path), json.dumps(list(results)))


def evaluate_results(annotations: CocoAnnotations, results: Sequence[CocoResult]) -> DetectionRecord:
    """Compare COCO results with COCO annotations.

    Args:
        annotations: what is there: ``images``, ``annotations`` and ``categories``, as in an ``instances_*.json``.
        results: what was found.

    Returns:
        COCO's figures.

    Raises:
        ValueError: a result of an image or a category that the annotations don't have, or with a score that is none.
        ImportError: the ``detect`` extra is not installed.
    """
    _check(annotations, results)
    coco_api = require("pycocotools.coco", "detect", _PURPOSE)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        truth = coco_api.COCO()
        truth.dataset = {"info": {}, **annotations, "annotations": [_complete(a) for a in annotations["annotations"]]}
        truth.createIndex()
        precision = _precision(truth, results) if results else None
    return _record(annotations, precision)


def _check(annotations: CocoAnnotations, results: Sequence[CocoResult]) -> None:
    images = {image["id"] for image in annotations["images"]}
    categories = {category["id"] for category in annotations["categories"]}
    for index, result in enumerate(results):
        if not isinstance(result["image_id"], Hashable) or result["image_id"] not in images:
            raise ValueError(f"result {index} is of image {result['image_id']}, which the annotations don't have")
        if not isinstance(result["category_id"], Hashable) or result["category_id"] not in categories:
            raise ValueError(f"result {index} is of category {result['category_id']}, which the annotations don't have")
        box, score = result["bbox"], result["score"]
        numbers = [*box, score] if isinstance(box, Iterable) else []
        if len(numbers) != 5 or not all(map(_is_number, numbers)):
            raise ValueError(
                f"result {index} (image {result['image_id']}) must have a bbox of four finite numbers and a finite "
                f"score, got {box} and {score}"
            )
        if box[2] < 0 or box[3] < 0:
            raise ValueError(
                f"result {index} (image {result['image_id']}) must have a width and height of at least 0, got {box}"
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def _complete(annotation: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in what the evaluator reads and files may leave out."""
    box = annotation["bbox"]
    return {"area": box[2] * box[3], "iscrowd": 0, **annotation}


def _precision(truth: Any, results: Sequence[CocoResult]) -> tuple[NDArray[np.float64], list[int]]:
    """Return precision (thresholds, recalls, categories, area ranges, limits) and the categories' order."""
    evaluator = require("pycocotools.cocoeval", "detect", _PURPOSE).COCOeval(
        truth, truth.loadRes([dict(result) for result in results]), "bbox"
    )
    evaluator.evaluate()
    evaluator.accumulate()
    return evaluator.eval["precision"], list(evaluator.params.catIds)


def _mean(values: NDArray[np.float64]) -> float | None:
    """Return the mean as COCO takes it: where there was nothing to find it holds -1, which does not count."""
    counted = values[values > -1]
    return float(counted.mean()) if counted.size else None


def _record(annotations: CocoAnnotations, found: tuple[NDArray[np.float64], list[int]] | None) -> DetectionRecord:
    objects = {category["id"]: 0 for category in annotations["categories"]}
    for annotation in annotations["annotations"]:
        objects[annotation["category_id"]] += not annotation.get("iscrowd", 0)
    if found is None:
        found = _nothing_found(annotations, objects)
    precision, categories = found
    every = precision[:, :, :, 0, -1]  # all areas, 100 detections an image
    names = {category["id"]: str(category["name"]) for category in annotations["categories"]}
    return DetectionRecord(
        ap=_mean(every),
        ap50=_mean(every[0]),
        ap75=_mean(every[5]),
        ap_small=_mean(precision[:, :, :, 1, -1]),
        ap_medium=_mean(precision[:, :, :, 2, -1]),
        ap_large=_mean(precision[:, :, :, 3, -1]),
        images=len(annotations["images"]),
        classes=tuple(
            ClassPrecision(names[number], objects[number], _mean(every[:, :, k]), _mean(every[0, :, k]))
            for k, number in enumerate(categories)
        ),
    )


def _nothing_found(annotations: CocoAnnotations, objects: Mapping[int, int]) -> tuple[NDArray[np.float64], list[int]]:
    """Return what the evaluator would, had it taken an empty list of results: 0 where there was something to find."""
    categories = sorted(objects)
    precision = np.full((10, 101, len(categories), 4, 3), -1.0)
    limits = [(0.0, 1e10), (0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e10)]
    for annotation in annotations["annotations"]:
        box = annotation["bbox"]
        area = annotation.get("area", box[2] * box[3])
        for k, (low, high) in enumerate(limits):
            if not annotation.get("iscrowd", 0) and low <= area <= high:
                precision[:, :, categories.index(annotation["category_id"]), k] = 0
    return precision, categories
