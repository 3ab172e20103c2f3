"""From a source image to what a network sees: augmented for training, resized and cropped for evaluation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sapool.base.extras import require
from sapool.base.suggest import suggest

Transform = Callable[[Tensor], Tensor]
Statistics = tuple[float, float, float]

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


def resize_and_crop(images: Tensor, size: int) -> Tensor:
    """Return (..., C, H, W) with the shorter side resized to ``size`` and the square in the middle cut out."""
    if images.shape[-2:] == (size, size):
        return images
    functional = _v2().functional
    return functional.center_crop(functional.resize(images, [size], antialias=True), [size, size])


class Augmentation:
    """A chain of torchvision's transforms on one uint8 image (3, H, W), drawn from a seed and an index alone.

    Args:
        names: of :data:`AUGMENTATIONS`.
        size: side of the result.
        seed: of everything drawn.
    """

    def __init__(self, names: Sequence[str], size: int, seed: int) -> None:
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


def _transform(name: str, size: int) -> Transform:
    v2 = _v2()
    bilinear = v2.InterpolationMode.BILINEAR
    if name == "random_resized_crop":
        return v2.RandomResizedCrop(size, antialias=True)
    if name == "crop_pad4":
        return v2.RandomCrop(size, padding=max(1, size // 8))
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
    """Bytes to floats: (N, 1 or 3, H, W) or (1 or 3, H, W) uint8 to three channels in [0, 1], normalised if asked.

    Raises:
        ValueError: one of ``mean`` and ``std`` alone, or not three numbers each, std positive.
    """

    def __init__(self, mean: Statistics | None = None, std: Statistics | None = None) -> None:
        if (mean is None) != (std is None):
            raise ValueError(f"mean and std go together, got {mean} and {std}")
        if mean is not None and std is not None and (len(mean) != 3 or len(std) != 3 or min(std) <= 0):
            raise ValueError(f"mean and std must be three numbers each, std positive, got {mean} and {std}")
        self._mean = None if mean is None else torch.tensor(mean)[:, None, None]
        self._std = None if std is None else torch.tensor(std)[:, None, None]

    def __call__(self, images: Tensor, peak: int = 255) -> Tensor:
        """Return float32 (..., 3, H, W); ``peak`` is a white pixel's value."""
        floats = three_channels(images.to(torch.float32).div_(peak)).contiguous()
        return floats if self._mean is None or self._std is None else floats.sub_(self._mean).div_(self._std)


def three_channels(images: Tensor) -> Tensor:
    """Return (..., 3, H, W): a grey image is repeated."""
    return images if images.shape[-3] == 3 else images.expand(*images.shape[:-3], 3, *images.shape[-2:])
