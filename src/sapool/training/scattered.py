"""scattered-digits: one whole handwritten digit somewhere on a canvas, among fragments of others.

The digits are scikit-learn's bundled set (1,797 real digits of 8 x 8 pixels, from UCI's "Optical Recognition of
Handwritten Digits"), scaled three times to 24 px. Digits are split before anything is drawn, so that no pixel of a
validation or test digit is ever seen in training, not even in a fragment.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from sapool.optional import require

Split = Literal["train", "val", "test"]
SPLIT_SIZES: dict[str, int] = {"train": 1000, "val": 300, "test": 497}
DIGIT_PIXELS = 24


@dataclass(frozen=True)
class Sample:
    """A drawn canvas: image (3, S, S) in [0, 1], its digit's class, and that digit's box (x0, y0, x1, y1) in pixels."""

    image: Tensor
    label: int
    box: tuple[int, int, int, int]


@cache
def _digits(split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return a split's digits (n, 24, 24) in [0, 1] and their classes (n,)."""
    bundle = require("sklearn.datasets", "train", "scattered-digits").load_digits()
    order = np.random.default_rng(0).permutation(len(bundle.target))
    start = 0
    for name, count in SPLIT_SIZES.items():
        if name == split:
            chosen = order[start : start + count]
        start += count
    scaled = np.kron(bundle.images[chosen] / 16, np.ones((1, 3, 3)))
    return scaled.astype(np.float32), bundle.target[chosen].astype(np.int64)


class ScatteredDigits(Dataset[tuple[Tensor, int]]):
    """Canvases drawn on the fly; the same seed and index always give the same one.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``.
        size: side of the square canvas, in pixels, at least 24.
        seed: chooses the placements and the fragments, never the split.
        fragments: how many pieces of other digits lie around.
        fragment_size: side of a piece, in pixels, at most 24.
        repeats: canvases a source digit; item i shows digit i modulo the split's size.

    Raises:
        ValueError: an unknown split or a value out of its range.
    """

    num_classes = 10

    def __init__(
        self,
        split: Split,
        size: int = 64,
        *,
        seed: int = 0,
        fragments: int = 8,
        fragment_size: int = 9,
        repeats: int = 1,
    ) -> None:
        if split not in SPLIT_SIZES:
            raise ValueError(f"scattered-digits: split must be one of {', '.join(SPLIT_SIZES)}, got {split!r}")
        if size < DIGIT_PIXELS:
            raise ValueError(f"scattered-digits: the canvas must be at least {DIGIT_PIXELS} px a side, got {size}")
        if not 1 <= fragment_size <= DIGIT_PIXELS:
            raise ValueError(f"scattered-digits: fragment_size must be 1 to {DIGIT_PIXELS} px, got {fragment_size}")
        if fragments < 0 or repeats < 1 or seed < 0:
            raise ValueError(
                f"scattered-digits: fragments and seed must be at least 0 and repeats at least 1, got {fragments=}, "
                f"{seed=}, {repeats=}"
            )
        self.split, self.size, self.seed = split, size, seed
        self.fragments, self.fragment_size, self.repeats = fragments, fragment_size, repeats
        self._images, self._labels = _digits(split)

    def __len__(self) -> int:
        return len(self._labels) * self.repeats

    def sample(self, index: int) -> Sample:
        """Draw canvas ``index`` with its box."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"scattered-digits: index must be under {len(self)}, got {index}")
        index %= len(self)
        rng = np.random.default_rng([self.seed, list(SPLIT_SIZES).index(self.split), index])
        source = index % len(self._labels)
        canvas = np.zeros((self.size, self.size), np.float32)
        self._scatter_fragments(canvas, source, rng)
        row, column = (int(v) for v in rng.integers(0, self.size - DIGIT_PIXELS + 1, 2))
        # Drawn last and over the fragments: the digit is always whole.
        canvas[row : row + DIGIT_PIXELS, column : column + DIGIT_PIXELS] = self._images[source]
        image = torch.from_numpy(canvas).expand(3, -1, -1).contiguous()
        return Sample(image, int(self._labels[source]), (column, row, column + DIGIT_PIXELS, row + DIGIT_PIXELS))

    def _scatter_fragments(self, canvas: NDArray[np.float32], source: int, rng: np.random.Generator) -> None:
        side = self.fragment_size
        others = (source + rng.integers(1, len(self._labels), self.fragments)) % len(self._labels)
        cuts = rng.integers(0, DIGIT_PIXELS - side + 1, (self.fragments, 2))
        places = rng.integers(0, self.size - side + 1, (self.fragments, 2))
        for other, (top, left), (row, column) in zip(others, cuts, places, strict=True):
            piece = self._images[other, top : top + side, left : left + side]
            target = canvas[row : row + side, column : column + side]
            np.maximum(target, piece, out=target)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return canvas ``index`` as (image (3, S, S) float32 in [0, 1], class)."""
        drawn = self.sample(index)
        return drawn.image, drawn.label
