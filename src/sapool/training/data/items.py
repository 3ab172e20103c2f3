"""The data sets that a loader reads: (image float32 (C, H, W), class)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from sapool.training.data.augmentation import Augmentation, Finish, Sides, resize_and_crop, to_channels
from sapool.training.data.source_images import ArrayImages, SourceImages

Item = tuple[Tensor, int]
Images = Dataset[Item]


class Batch(list[Item]):
    """Items that were made at once: a list of them, which also has them stacked already.

    Attributes:
        images: (N, C, H, W).
        labels: (N,).
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        super().__init__(zip(images, labels.tolist(), strict=True))
        self.images, self.labels = images, labels


def collate(items: Any) -> Any:
    """Collate as torch does, without copying what came as a :class:`Batch`: give it to a DataLoader."""
    return (items.images, items.labels) if isinstance(items, Batch) else default_collate(items)


class PreparedImages(Images):
    """Source images at one size; item i shows image i modulo their number.

    Args:
        source: the images.
        size: side of the items, or height and width, in pixels.
        finish: bytes to floats.
        augmentation: what is done to item i, or None: resized and cropped only.
        repeats: items an image.
    """

    def __init__(
        self,
        source: SourceImages,
        size: Sides,
        finish: Finish,
        augmentation: Augmentation | None = None,
        repeats: int = 1,
    ) -> None:
        self.source, self.size, self.finish = source, size, finish
        self.augmentation, self.repeats = augmentation, repeats

    @property
    def plain(self) -> PreparedImages:
        """The same images, not augmented, each once."""
        return PreparedImages(self.source, self.size, self.finish)

    def __len__(self) -> int:
        return len(self.source) * self.repeats

    def __getitem__(self, index: int) -> Item:
        """Return item ``index``.

        Raises:
            DataError: its image is damaged.
        """
        index = self._checked(index)
        which = index % len(self.source)
        image = self.source.image(which)
        if self.augmentation is None:
            image = self.finish(resize_and_crop(image, self.size))
        else:
            image = self.augmentation(to_channels(image, self.finish.channels), index, self.finish)
        return image, int(self.source.labels[which])

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """Return several items; what lies in memory and is not augmented is made all at once."""
        if self.augmentation is not None or not isinstance(self.source, ArrayImages):
            return [self[index] for index in indices]
        which = [self._checked(index) % len(self.source) for index in indices]
        images = self.finish(resize_and_crop(self.source.batch(which), self.size))
        return Batch(images, torch.from_numpy(self.source.labels[which]))

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index must be under {len(self)}, got {index}")
        return index % len(self)
