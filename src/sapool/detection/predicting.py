"""A detector on image files: drawings and a results file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sapool.base.files import write_text_atomically
from sapool.detection.drawing import draw_boxes, write_drawing
from sapool.detection.image_files import read_image
from sapool.networks.traced import evaluating

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def find_images(paths: Sequence[str | Path]) -> list[Path]:
    """Return the image files that are named, and those directly in folders that are, by name.

    Raises:
        ValueError: a path that is not there, a folder without images, or two images whose drawings would have one name.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            if not inside:
                raise ValueError(f"{path} holds no image (one of {', '.join(IMAGE_SUFFIXES)})")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise ValueError(f"{path}: no such file or folder")
    names: dict[str, Path] = {}
    for path in found:
        if path.stem in names:
            raise ValueError(
                f"{names[path.stem]} and {path} would both be drawn as {path.stem}.png: name one at a time"
            )
        names[path.stem] = path
    return found


def predict_files(
    detector: nn.Module, paths: Sequence[str | Path], classes: Sequence[str], out: str | Path, min_score: float = 0.5
) -> list[dict[str, Any]]:
    """Find objects on image files; draw them and write them down.

    Args:
        detector: in eval mode, on any device.
        paths: image files, or folders of them.
        classes: names, label 1 first.
        out: folder that gets a drawing ``NAME.png`` for every image, and ``results.json``.
        min_score: boxes with a lower score are left out of both.

    Returns:
        What ``results.json`` holds: for every image ``image`` and ``boxes``, each with ``class``, ``score`` and
        ``bbox`` (x, y, width, height) in pixels of the image.

    Raises:
        ValueError: no such file, an image that does not decode, a score outside [0, 1], or drawings that would
            overwrite the images.
    """
    files, out = find_images(paths), Path(out)
    drawings = [out / f"{path.stem}.png" for path in files]
    for path, drawing in zip(files, drawings, strict=True):
        if path.resolve() == drawing.resolve():
            raise ValueError(f"{path} would be overwritten by its drawing: choose another --out")
    device = next(detector.parameters()).device
    found: list[dict[str, Any]] = []
    with evaluating(detector), torch.no_grad():
        for path, drawing in zip(files, drawings, strict=True):
            image = read_image(path)
            (prediction,) = detector([image.to(device)])
            write_drawing(draw_boxes(image, prediction, classes, min_score), drawing)
            found.append({"image": str(path), "boxes": _boxes(prediction, classes, min_score)})
    write_text_atomically(out / "results.json", json.dumps(found, indent=2))
    return found


def _boxes(prediction: dict[str, torch.Tensor], classes: Sequence[str], min_score: float) -> list[dict[str, Any]]:
    rows = zip(prediction["boxes"].tolist(), prediction["labels"].tolist(), prediction["scores"].tolist(), strict=True)
    return [
        {"class": classes[label - 1], "score": score, "bbox": [x0, y0, x1 - x0, y1 - y0]}
        for (x0, y0, x1, y1), label, score in rows
        if label > 0 and score >= min_score
    ]
