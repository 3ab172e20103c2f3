"""Scattered images: one whole image somewhere on a canvas, among fragments of others.

scattered-digits takes scikit-learn's bundled digits (1,797 real ones of 8 x 8 pixels, from UCI's "Optical Recognition
of Handwritten Digits"), scaled three times to 24 px. Source images are split before anything is drawn, so that no pixel
of a validation or test image is ever seen in training, not even in a fragment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from sapool.base.extras import require
from sapool.training.data.augmentation import Augmentation, Finish
from sapool.training.data.items import Batch, Item
from sapool.training.data.source_images import ArrayImages, Labels
from sapool.training.data.splitting import SPLITS

SPLIT_SIZES: dict[str, int] = {"train": 1000, "val": 300, "test": 497}
DIGIT_PIXELS = 24
DIGIT_PEAK = 16
FRAGMENTS = 8


@dataclass(frozen=True)
class Sample:
    """A drawn canvas: image (3, S, S) in [0, 1], its class, and the whole image's box (x0, y0, x1, y1) in pixels."""

    image: Tensor
    label: int
    box: tuple[int, int, int, int]


class _Placement(NamedTuple):
    """Where everything of one canvas lies: corners are (row, column)."""

    source: int
    others: Labels
    cuts: Labels
    places: Labels
    spot: tuple[int, int]


@cache
def source_digits(split: str) -> tuple[NDArray[np.uint8], Labels]:
    """Return a split's digits (n, 8, 8), 0 to 16, and their classes (n,)."""
    bundle = require("sklearn.datasets", "train", "digits").load_digits()
    order = np.random.default_rng(0).permutation(len(bundle.target))
    start = sum(count for name, count in SPLIT_SIZES.items() if SPLITS.index(name) < SPLITS.index(split))
    chosen = order[start : start + SPLIT_SIZES[split]]
    return bundle.images[chosen].astype(np.uint8), bundle.target[chosen].astype(np.int64)


class ScatteredImages(Dataset[Item]):
    """Canvases drawn on the fly; the same seed and index always give the same one.

    Args:
        sources: grey images (n, P, P) uint8; item i shows image i modulo n.
        labels: their classes (n,).
        size: side of the square canvas, in pixels, at least P.
        split: part of what the placements are drawn from.
        seed: chooses the placements and the fragments.
        fragments: how many pieces of other images lie around.
        fragment_size: side of a piece, in pixels, at most P.
        repeats: canvases a source image.
        peak: value of a white pixel.
        name: what messages call it.
        augmentation: what is done to every canvas, or None.
        finish: bytes to floats; by default to [0, 1].

    Raises:
        ValueError: an unknown split or a value out of its range.
    """

    def __init__(
        self,
        sources: NDArray[np.uint8],
        labels: Labels,
        size: int,
        *,
        split: str = "train",
        seed: int = 0,
        fragments: int = FRAGMENTS,
        fragment_size: int = 9,
        repeats: int = 1,
        peak: int = 255,
        name: str = "scattered images",
        augmentation: Augmentation | None = None,
        finish: Finish | None = None,
    ) -> None:
        pixels = sources.shape[-1]
        if split not in SPLITS:
            raise ValueError(f"{name}: split must be one of {', '.join(SPLITS)}, got {split!r}")
        if size < pixels:
            raise ValueError(f"{name}: the canvas must be at least {pixels} px a side, got {size}")
        if not 1 <= fragment_size <= pixels:
            raise ValueError(f"{name}: fragment_size must be 1 to {pixels} px, got {fragment_size}")
        if fragments < 0 or repeats < 1 or seed < 0:
            raise ValueError(
                f"{name}: fragments and seed must be at least 0 and repeats at least 1, got {fragments=}, {seed=}, "
                f"{repeats=}"
            )
        self.name, self.split, self.size, self.seed = name, split, size, seed
        self.fragments, self.fragment_size, self.repeats = fragments, fragment_size, repeats
        self.pixels, self.peak = pixels, peak
        self.augmentation, self.finish = augmentation, finish or Finish()
        self._images, self._labels = np.ascontiguousarray(sources), labels
        self._steps = np.arange(fragment_size)

    @property
    def plain(self) -> ScatteredImages:
        """The same canvases, not augmented."""
        return ScatteredImages(
            self._images, self._labels, self.size, split=self.split, seed=self.seed, fragments=self.fragments,
            fragment_size=self.fragment_size, repeats=self.repeats, peak=self.peak, name=self.name, finish=self.finish,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self._labels) * self.repeats

    def sample(self, index: int) -> Sample:
        """Draw canvas ``index`` with its box, neither augmented nor normalised."""
        placed = self._place(index)
        image = Finish()(torch.from_numpy(self._draw([placed])), self.peak)
        row, column = placed.spot
        box = (column, row, column + self.pixels, row + self.pixels)
        return Sample(image, self._label(index), box)

    def _label(self, index: int) -> int:
        return int(self._labels[index % len(self._labels)])

    def _place(self, index: int) -> _Placement:
        """Draw where everything of canvas ``index`` lies."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self.name}: index must be under {len(self)}, got {index}")
        index %= len(self)
        rng = np.random.default_rng([self.seed, SPLITS.index(self.split), index])
        count, side, known = self.fragments, self.fragment_size, len(self._labels)
        source = index % known
        others = (source + rng.integers(1, known, count)) % known
        cuts = rng.integers(0, self.pixels - side + 1, (count, 2))
        places = rng.integers(0, self.size - side + 1, (count, 2))
        row, column = rng.integers(0, self.size - self.pixels + 1, 2).tolist()
        return _Placement(source, others, cuts, places, (row, column))

    def _draw(self, placed: Sequence[_Placement]) -> NDArray[np.uint8]:
        """Return canvases (N, S, S): all at once, a fragment of each after the other."""
        canvases = np.zeros((len(placed), self.size, self.size), np.uint8)
        others = np.stack([one.others for one in placed])
        cuts = np.stack([one.cuts for one in placed])
        places = np.stack([one.places for one in placed])
        for k in range(self.fragments):
            pieces = self._images.reshape(-1)[self._square(others[:, k], cuts[:, k], self.pixels)]
            target = self._square(np.arange(len(placed)), places[:, k], self.size)
            flat = canvases.reshape(-1)
            flat[target] = np.maximum(flat[target], pieces)
        for canvas, one in zip(canvases, placed, strict=True):
            row, column = one.spot
            # Drawn last and over the fragments: the image is always whole.
            canvas[row : row + self.pixels, column : column + self.pixels] = self._images[one.source]
        return canvases

    def _square(self, which: Labels, corners: Labels, side: int) -> Labels:
        """Return the flat indices (N, F, F) of a fragment in each of the images ``which`` of ``side`` pixels."""
        inside = self._steps[:, None] * side + self._steps
        return ((which * side + corners[:, 0]) * side + corners[:, 1])[:, None, None] + inside

    def __getitem__(self, index: int) -> Item:
        """Return canvas ``index`` as (image (3, S, S) float32 in [0, 1] unless normalised, class)."""
        canvas = torch.from_numpy(self._draw([self._place(index)]))
        if self.augmentation is None:
            return self.finish(canvas, self.peak), self._label(index)
        if self.peak != 255:  # what acts on brightness counts on bytes
            canvas = (canvas * (255 / self.peak)).round().to(torch.uint8)
        return self.augmentation(canvas.expand(3, -1, -1), index % len(self), self.finish), self._label(index)

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """Return several canvases, turned to floats at once unless they are augmented."""
        if self.augmentation is not None:
            return [self[index] for index in indices]
        canvases = torch.from_numpy(self._draw([self._place(index) for index in indices]))
        labels = torch.tensor([self._label(index) for index in indices])
        return Batch(self.finish(canvases[:, None], self.peak), labels)


class ScatteredDigits(ScatteredImages):
    """scattered-digits: scikit-learn's digits at 24 px, see :class:`ScatteredImages`.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"``: which source digits.
        size: side of the square canvas, in pixels, at least 24.
        seed: as there, like the rest.
        fragments: as there.
        fragment_size: as there.
        repeats: as there.

    Raises:
        ValueError: an unknown split or a value out of its range.
    """

    num_classes = 10

    def __init__(
        self,
        split: str,
        size: int = 64,
        *,
        seed: int = 0,
        fragments: int = FRAGMENTS,
        fragment_size: int = 9,
        repeats: int = 1,
    ) -> None:
        if split not in SPLIT_SIZES:
            raise ValueError(f"scattered-digits: split must be one of {', '.join(SPLIT_SIZES)}, got {split!r}")
        digits = large_digits(split)
        super().__init__(
            digits.images[:, 0], digits.labels, size, split=split, seed=seed, fragments=fragments,
            fragment_size=fragment_size, repeats=repeats, peak=DIGIT_PEAK, name="scattered-digits",
        )  # fmt: skip


def large_digits(split: str) -> ArrayImages:
    """Return a split's digits at 24 px, every pixel three times three, 0 to 16."""
    digits, labels = source_digits(split)
    enlarged = np.kron(digits, np.ones((1, 3, 3), np.uint8))
    return ArrayImages(enlarged[:, None], labels, f"scattered-digits: {split}")


def digit_images(split: str) -> ArrayImages:
    """Return a split's digits as grey images of 8 x 8 pixels, 0 to 255."""
    digits, labels = source_digits(split)
    return ArrayImages(np.round(digits * (255 / DIGIT_PEAK)).astype(np.uint8)[:, None], labels, f"digits: {split}")
