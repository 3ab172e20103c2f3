"""From a source image to what a network sees: augmented for training, resized and cropped for evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sapool.base.extras import require
from sapool.base.image_size import COLOURS
from sapool.base.suggest import suggest

Transform = Callable[[Tensor], Tensor]
Sides = int | tuple[int, int]  # of a square, or height and width
Statistics = tuple[float, ...]

# In the order in which they are applied, whatever order they are named in.
AUGMENTATIONS = (
    "random_resized_crop", "crop_pad4", "random_affine", "flip", "trivial_augment", "color_jitter", "random_erasing",
)  # fmt: skip


def check_augmentations(names: Sequence[str]) -> None:
    """Check names of augmentations.

    Raises:
        ValueError: an unknown name (with the nearest), one named twice, or two that exclude each other.
    """
    for name in names:
        if name not in AUGMENTATIONS:
            raise ValueError(f"unknown augmentation {name!r}: {suggest(name, AUGMENTATIONS)}")
    if len(set(names)) != len(names):
        raise ValueError(f"augment must name each augmentation once, got {', '.join(names)}")
    if {"random_resized_crop", "crop_pad4"} <= set(names):
        raise ValueError("augment: random_resized_crop and crop_pad4 exclude each other: both choose the crop")


def _v2() -> Any:
    return require("torchvision.transforms.v2", "train", "resizing and augmenting images")


def resize_and_crop(images: Tensor, size: Sides) -> Tensor:
    """Return (..., C, H, W) made as small as covers ``size``, keeping its form, and the middle cut out."""
    height, width = as_sides(size)
    rows, columns = images.shape[-2:]
    if (rows, columns) == (height, width):
        return images
    functional = _v2().functional
    if height == width:
        resized = functional.resize(images, [height], antialias=True)
    else:
        scale = max(height / rows, width / columns)
        covering = [max(height, round(rows * scale)), max(width, round(columns * scale))]
        resized = functional.resize(images, covering, antialias=True)
    return functional.center_crop(resized, [height, width])


def as_sides(size: Sides) -> tuple[int, int]:
    """Return (height, width) of a side or of both."""
    return (size, size) if isinstance(size, int) else size


class Augmentation:
    """A chain of torchvision's transforms on one uint8 image (C, H, W), drawn from a seed and an index alone.

    Args:
        names: of :data:`AUGMENTATIONS`.
        size: side of the result, or its height and width.
        seed: of everything drawn.
    """

    def __init__(self, names: Sequence[str], size: Sides, seed: int) -> None:
        check_augmentations(names)
        self.names, self.size, self.seed = tuple(names), size, seed
        chosen = [name for name in AUGMENTATIONS if name in names and name != "random_erasing"]
        self._on_pixels = [_transform(name, size) for name in chosen]
        self._erase = _v2().RandomErasing(p=0.25) if "random_erasing" in names else None

    def __call__(self, image: Tensor, index: int, finish: Transform) -> Tensor:
        """Augment ``image`` as item ``index``; ``finish`` makes it float, between what acts on pixels and erasing."""
        before = torch.random.get_rng_state()
        # The CPU's generator only: torch.manual_seed would also reset those of accelerators.
        torch.default_generator.manual_seed(_mix(self.seed, index))
        try:
            if "random_resized_crop" not in self.names:
                image = resize_and_crop(image, self.size)
            for transform in self._on_pixels:
                image = transform(image)
            image = finish(image)
            return image if self._erase is None else self._erase(image)
        finally:
            torch.random.set_rng_state(before)


def _transform(name: str, size: Sides) -> Transform:
    v2, sides = _v2(), as_sides(size)
    bilinear = v2.InterpolationMode.BILINEAR
    if name == "random_resized_crop":
        return v2.RandomResizedCrop(sides, antialias=True)
    if name == "crop_pad4":
        return v2.RandomCrop(sides, padding=[max(1, sides[1] // 8), max(1, sides[0] // 8)])
    if name == "random_affine":
        return v2.RandomAffine(degrees=10, translate=(0.1, 0.1), interpolation=bilinear)
    if name == "flip":
        return v2.RandomHorizontalFlip()
    if name == "trivial_augment":
        return v2.TrivialAugmentWide(interpolation=bilinear)
    return v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4)


def _mix(seed: int, index: int) -> int:
    """Return a seed that no other pair has, to all intents."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{index}".encode(), digest_size=7).digest(), "big")


class Finish:
    """Bytes to floats in [0, 1], with the channels that the network wants, normalised if asked.

    Args:
        mean: subtracted, a value for all channels or one each; None with ``std``: nothing is.
        std: divided by, as ``mean``.
        channels: of the result: a grey image is repeated, a colour one becomes grey where one channel is wanted.

    Raises:
        ValueError: one of ``mean`` and ``std`` alone, another number of values, or a std that is not positive.
    """

    def __init__(self, mean: Statistics | None = None, std: Statistics | None = None, channels: int = COLOURS) -> None:
        if (mean is None) != (std is None):
            raise ValueError(f"mean and std go together, got {mean} and {std}")
        self.channels = channels
        self._mean = self._std = None
        if mean is not None and std is not None:
            if {len(mean), len(std)} - {1, channels} or min(std) <= 0:
                many = "one number" if channels == 1 else f"one number or {channels}"
                raise ValueError(f"mean and std must be {many} each, std positive, got {mean} and {std}")
            self._mean, self._std = torch.tensor(mean)[:, None, None], torch.tensor(std)[:, None, None]

    def __call__(self, images: Tensor, peak: int = 255) -> Tensor:
        """Return float32 (..., C, H, W) of uint8 (..., C', H, W); ``peak`` is a white pixel's value."""
        floats = to_channels(images, self.channels).to(torch.float32).div_(peak).contiguous()
        return floats if self._mean is None or self._std is None else floats.sub_(self._mean).div_(self._std)


def to_channels(images: Tensor, channels: int) -> Tensor:
    """Return (..., ``channels``, H, W): a grey image is repeated, a colour one becomes grey.

    Raises:
        ValueError: other channels than these.
    """
    there = images.shape[-3]
    if there == channels:
        return images
    if there == 1:
        return images.expand(*images.shape[:-3], channels, *images.shape[-2:])
    if there == COLOURS and channels == 1:
        return _v2().functional.rgb_to_grayscale(images)
    raise ValueError(f"an image of {there} channels can't become one of {channels}: choose an input size of {there}")
