"""Boxes drawn on images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.utils import draw_bounding_boxes

from sapool.base.files import write_bytes_atomically
from sapool.detection.image_files import as_bytes, encode_png

# Okabe and Ito's colours, told apart also by those who see few: a class takes the one of its label.
_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")


def draw_boxes(
    image: Tensor, prediction: Mapping[str, Tensor], classes: Sequence[str], min_score: float = 0.5
) -> Tensor:
    """Draw what a detector found.

    Args:
        image: (3, H, W) float in [0, 1].
        prediction: ``boxes`` (K, 4) as (x0, y0, x1, y1) in pixels, ``labels`` (K,) from 1 and, if it is not the truth,
            ``scores`` (K,).
        classes: names, label 1 first.
        min_score: boxes with a lower score are left out.

    Returns:
        The image with boxes, names and scores in percent, (3, H, W) uint8.

    Raises:
        ValueError: ``min_score`` outside [0, 1], or a label without a name.
    """
    if not 0 <= min_score <= 1:
        raise ValueError(f"min_score must be in [0, 1], got {min_score}")
    pixels = as_bytes(image)
    scores = prediction.get("scores", torch.ones(len(prediction["labels"])))
    kept = scores >= min_score
    labels = prediction["labels"][kept].tolist()
    if any(not 1 <= label <= len(classes) for label in labels):
        raise ValueError(f"labels must be 1 to {len(classes)}, the number of classes, got {labels}")
    if not labels:
        return pixels
    shares = scores[kept].tolist() if "scores" in prediction else None
    texts = [classes[label - 1] + ("" if shares is None else f" {shares[k]:.0%}") for k, label in enumerate(labels)]
    colours = [_COLOURS[label % len(_COLOURS)] for label in labels]
    return draw_bounding_boxes(pixels, prediction["boxes"][kept].cpu(), texts, colours, width=2)


def write_drawing(drawn: Tensor, path: str | Path) -> None:
    """Write an image (3, H, W) uint8 as PNG, as a whole or not at all.

    Raises:
        ValueError: the file's name does not end in .png.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path}: drawings are written as .png")
    write_bytes_atomically(path, encode_png(drawn))
