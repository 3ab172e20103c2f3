"""scattered-digits with boxes: several whole digits on a canvas, of several sizes, among fragments of others.

The digits and their splits are those of :class:`sapool.training.ScatteredDigits`: no pixel of a validation or test
digit is ever seen in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from sapool.detection.boxes import Target, make_target
from sapool.training import ScatteredDigits

CLASSES = tuple(str(digit) for digit in range(10))
_SOURCE_PIXELS = 24  # ScatteredDigits draws its 8 x 8 digits three times as large
_SPLITS = ("train", "val", "test")
_ATTEMPTS = 50


@cache
def _digits(split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return a split's digits (n, 24, 24) in [0, 1] and their classes (n,)."""
    source = ScatteredDigits(split, _SOURCE_PIXELS, fragments=0)
    drawn = [source[index] for index in range(len(source))]
    return np.stack([image[0].numpy() for image, _ in drawn]), np.array([label for _, label in drawn])


@dataclass(frozen=True)
class _Placed:
    """A digit on a canvas: its class, and its square as left, top and side in pixels."""

    label: int
    left: int
    top: int
    side: int


class ScatteredBoxes(Dataset[tuple[Tensor, Target]]):
    """Canvases with boxes, drawn on the fly; the same seed and index always give the same one.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``.
        size: side of the square canvas, in pixels, at least the largest digit's.
        images: how many canvases.
        seed: chooses digits, places and fragments, never the split.
        digits: least and most digits a canvas; a digit that finds no free place is left out.
        sides: sides a digit may have, in pixels, multiples of 8.
        fragments: pieces of other digits that lie around.
        fragment_size: side of a piece, in pixels, at most 24.

    Attributes:
        classes: names, label 1 first.
        category_ids: COCO category of every label, from 1.

    Raises:
        ValueError: an unknown split or a value out of its range.
    """

    classes = CLASSES
    category_ids = tuple(range(1, len(CLASSES) + 1))

    def __init__(
        self,
        split: str,
        size: int = 128,
        images: int = 500,
        *,
        seed: int = 0,
        digits: tuple[int, int] = (1, 5),
        sides: tuple[int, ...] = (24, 32, 40),
        fragments: int = 12,
        fragment_size: int = 9,
    ) -> None:
        if split not in _SPLITS:
            raise ValueError(f"scattered-digits: split must be one of {', '.join(_SPLITS)}, got {split!r}")
        if not sides or any(side < 8 or side % 8 for side in sides) or max(sides) > size:
            raise ValueError(f"scattered-digits: sides must be multiples of 8 px and at most the canvas, got {sides}")
        if not 1 <= digits[0] <= digits[1] or images < 1:
            raise ValueError(
                f"scattered-digits: digits must be (least, most) from 1 and images at least 1, got {digits=}, {images=}"
            )
        if fragments < 0 or seed < 0 or not 1 <= fragment_size <= min(_SOURCE_PIXELS, size):
            raise ValueError(
                f"scattered-digits: fragments and seed must be at least 0 and fragment_size 1 to {_SOURCE_PIXELS} px, "
                f"got {fragments=}, {seed=}, {fragment_size=}"
            )
        self.split, self.size, self.images, self.seed = split, size, images, seed
        self.digits, self.sides = digits, sides
        self.fragments, self.fragment_size = fragments, fragment_size

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        """Return canvas ``index`` (3, S, S) float32 in [0, 1] and its target; image ids count from 1."""
        if not -self.images <= index < self.images:
            raise IndexError(f"scattered-digits: index must be under {self.images}, got {index}")
        index %= self.images
        rng = np.random.default_rng([self.seed, _SPLITS.index(self.split), index])
        canvas = np.zeros((self.size, self.size), np.float32)
        self._scatter_fragments(canvas, rng)
        placed = self._place_digits(canvas, rng)
        image = torch.from_numpy(canvas).expand(3, -1, -1).contiguous()
        boxes = [(p.left, p.top, p.left + p.side, p.top + p.side) for p in placed]
        return image, make_target(boxes, [p.label for p in placed], index + 1)

    def _scatter_fragments(self, canvas: NDArray[np.float32], rng: np.random.Generator) -> None:
        images, _ = _digits(self.split)
        side = self.fragment_size
        others = rng.integers(0, len(images), self.fragments)
        cuts = rng.integers(0, _SOURCE_PIXELS - side + 1, (self.fragments, 2))
        places = rng.integers(0, self.size - side + 1, (self.fragments, 2))
        for other, (top, left), (row, column) in zip(others, cuts, places, strict=True):
            target = canvas[row : row + side, column : column + side]
            np.maximum(target, images[other, top : top + side, left : left + side], out=target)

    def _place_digits(self, canvas: NDArray[np.float32], rng: np.random.Generator) -> list[_Placed]:
        """Draw digits over the fragments, none over another: each is whole."""
        images, labels = _digits(self.split)
        placed: list[_Placed] = []
        for _ in range(int(rng.integers(self.digits[0], self.digits[1] + 1))):
            which, side = int(rng.integers(len(images))), int(rng.choice(self.sides))
            for top, left in rng.integers(0, self.size - side + 1, (_ATTEMPTS, 2)).tolist():
                if not any(_overlap(left, top, side, other) for other in placed):
                    step = _SOURCE_PIXELS // 8
                    canvas[top : top + side, left : left + side] = np.kron(
                        images[which, ::step, ::step], np.ones((side // 8, side // 8), np.float32)
                    )
                    placed.append(_Placed(int(labels[which]) + 1, left, top, side))
                    break
        return placed


def _overlap(left: int, top: int, side: int, other: _Placed) -> bool:
    beside = left + side <= other.left or other.left + other.side <= left
    above = top + side <= other.top or other.top + other.side <= top
    return not (beside or above)
