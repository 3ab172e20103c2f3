"""Data sets by name, each in three splits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from sapool.choices import suggest
from sapool.training.scattered import ScatteredDigits

DATA_SETS = ("scattered-digits",)
Images = Dataset[tuple[Tensor, int]]


@dataclass(frozen=True)
class DataSplits:
    """Three splits that share no source image; ``train`` holds ``images_per_epoch`` fresh images for every epoch."""

    name: str
    train: Images
    val: Images
    test: Images
    num_classes: int
    images_per_epoch: int

    def calibration(self, count: int = 128) -> Iterator[Tensor]:
        """Yield training images (N, C, H, W) to set int8 ranges by: neither validation nor test is touched."""
        indices = range(min(count, self.images_per_epoch))
        yield torch.stack([self.train[i][0] for i in indices])


def load_data(name: str, size: int, *, epochs: int = 1, seed: int = 0) -> DataSplits:
    """Load a data set.

    Args:
        name: one of :data:`DATA_SETS`.
        size: side of its images, in pixels.
        epochs: how many epochs of distinct training images are wanted.
        seed: of whatever is drawn.

    Raises:
        ValueError: an unknown name (with the nearest) or a size the data can't have.
    """
    if name not in DATA_SETS:
        raise ValueError(f"unknown data set {name!r}: {suggest(name, DATA_SETS)}")
    train = ScatteredDigits("train", size, seed=seed, repeats=epochs)
    val, test = ScatteredDigits("val", size, seed=seed), ScatteredDigits("test", size, seed=seed)
    return DataSplits(name, train, val, test, ScatteredDigits.num_classes, len(train) // epochs)


class EpochSampler(Sampler[int]):
    """Epoch e gets the items e n ... (e + 1) n - 1, shuffled by (seed, e): the same after a restart."""

    def __init__(self, images_per_epoch: int, total: int, seed: int) -> None:
        self.images_per_epoch, self.total, self.seed = images_per_epoch, total, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; the trainer calls this before each one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.images_per_epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        start = self.epoch * self.images_per_epoch
        for index in torch.randperm(self.images_per_epoch, generator=generator).tolist():
            yield (start + index) % self.total


def train_loader(data: DataSplits, batch_size: int, seed: int) -> DataLoader[tuple[Tensor, int]]:
    """Return the loader of the training split, in this process: the images are drawn faster than they are used."""
    total = len(data.train)  # type: ignore[arg-type]
    sampler = EpochSampler(data.images_per_epoch, total, seed)
    return DataLoader(data.train, min(batch_size, data.images_per_epoch), sampler=sampler, drop_last=True)


def eval_loader(images: Images, batch_size: int = 128) -> DataLoader[tuple[Tensor, int]]:
    """Return a loader that goes through ``images`` once, in order."""
    return DataLoader(images, batch_size)


def gather(images: Images, count: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the first ``count`` items (default: all) as images (N, C, H, W) and labels (N,)."""
    total = len(images)  # type: ignore[arg-type]
    pairs = [images[i] for i in range(total if count is None else min(count, total))]
    return torch.stack([image for image, _ in pairs]), torch.tensor([label for _, label in pairs])
