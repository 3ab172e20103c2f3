"""A data set's name to three splits that a trainer can read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset

from sapool.base.image_size import InputSize, as_input_size
from sapool.base.ranges import MOST_EPOCHS, MOST_IMAGES, MOST_SEED, check_range
from sapool.training.data.augmentation import Augmentation, Finish, Statistics, check_augmentations
from sapool.training.data.checking import drop_bad
from sapool.training.data.items import Images, PreparedImages
from sapool.training.data.scattered import DIGIT_PEAK, FRAGMENTS, ScatteredImages
from sapool.training.data.source_images import ArrayImages, DataError, SourceImages
from sapool.training.data.sources import read_source
from sapool.training.data.splitting import SPLITS, Source, keep_images, three_splits

_MOST_FRAGMENTS = 10_000


@dataclass(frozen=True)
class DataSplits:
    """Three splits that share no source image.

    Attributes:
        name: the data set's.
        train: ``images_per_epoch`` items for every epoch; item i depends on the seed and i alone.
        val: never augmented, the same for every seed.
        test: never augmented, the same for every seed.
        num_classes: how many.
        images_per_epoch: images of the training split.
        classes: their names.
        skipped: damaged images that were left out, by split.
    """

    name: str
    train: Images
    val: Images
    test: Images
    num_classes: int
    images_per_epoch: int
    classes: tuple[str, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)

    def calibration(self, count: int = 128) -> Iterator[Tensor]:
        """Yield training images (N, C, H, W), not augmented, to set int8 ranges by: val and test stay untouched."""
        images: Images = getattr(self.train, "plain", self.train)
        yield torch.stack([images[i][0] for i in range(min(count, self.images_per_epoch))])


def load_data(
    source: str,
    size: InputSize,
    *,
    epochs: int = 1,
    seed: int = 0,
    augment: Sequence[str] = (),
    mean: Statistics | None = None,
    std: Statistics | None = None,
    skip_bad: bool = False,
    train_images: int | None = None,
    eval_images: int | None = None,
    fragments: int | None = None,
) -> DataSplits:
    """Load a data set.

    Args:
        source: ``NAME``, ``NAME:DIR`` or ``DIR`` (its format is recognised); names: :data:`DATA_SETS`.
        size: of its images, in pixels: a side (square, 3 channels) or (channels, height, width). They are resized to
            cover it and the middle is cut out; a grey image is repeated for three channels, a colour one becomes grey
            for one.
        epochs: how many epochs of distinct training images are wanted.
        seed: of whatever is drawn for training; never of a split, nor of validation or test images.
        augment: names of what is done to training images: :data:`AUGMENTATIONS`.
        mean: subtracted from every channel, after images were brought to [0, 1].
        std: divided by, after that.
        skip_bad: leave damaged images out, and count them in ``skipped``.
        train_images: keep only so many training images, of every class in proportion.
        eval_images: validate and test on so many images, the same for every seed: at most what there is, but for the
            scattered data sets, which draw as many canvases as are wanted of the same sources.
        fragments: clutter of the scattered data sets: pieces of other images on a canvas (default 8).

    Raises:
        ValueError: an unknown name (with the nearest), a value out of its range or a size the data can't have.
        DataError: files that are missing or damaged, classes that differ, a split without images.
    """
    check_range("epochs", epochs, 1, MOST_EPOCHS)
    check_range("seed", seed, 0, MOST_SEED)
    for what, value in (("train_images", train_images), ("eval_images", eval_images)):
        if value is not None:
            check_range(what, value, 1, MOST_IMAGES)
    if fragments is not None:
        check_range("fragments", fragments, 0, _MOST_FRAGMENTS)
    check_augmentations(augment)
    channels, height, width = as_input_size(size)
    finish = Finish(mean, std, channels)
    name, found = read_source(source, skip_bad=skip_bad)
    if fragments is not None and not name.startswith("scattered-"):
        raise ValueError(f"fragments is for the scattered data sets, not for {name}")
    splits = prepared_splits(name, found, train_images=train_images, skip_bad=skip_bad)
    sides = (height, width)
    augmentation = Augmentation(augment, sides, seed) if augment else None
    made: dict[str, Images]
    if name.startswith("scattered-"):
        if height != width:
            raise ValueError(f"{name}: its canvases are square, got {height} x {width}")
        clutter = FRAGMENTS if fragments is None else fragments
        made = _scattered(name, splits, height, epochs, seed, clutter, finish, augmentation, eval_images)
    else:
        made = {split: _first(PreparedImages(splits.splits[split], sides, finish), eval_images) for split in SPLITS[1:]}
        made["train"] = PreparedImages(splits.splits["train"], sides, finish, augmentation, epochs)
    return DataSplits(
        source, made["train"], made["val"], made["test"], len(splits.classes), len(splits.splits["train"]),
        splits.classes, splits.skipped,
    )  # fmt: skip


def prepared_splits(name: str, found: Source, *, train_images: int | None, skip_bad: bool) -> Source:
    """Return train, val and test as they are used: split first, so that no split depends on what is damaged.

    Raises:
        DataError: a split, or a class in it, without an image.
    """
    # The digits' splits are as old as the data set, and in their order.
    source = found if name in ("digits", "scattered-digits") else three_splits(found)
    splits = dict(source.splits)
    if train_images is not None:
        splits["train"] = keep_images(source, splits["train"], train_images)
    skipped = {split: source.skipped.get(split, 0) for split in SPLITS}
    skipped["train"] += source.skipped.get("all", 0)  # without a class they belonged to no split yet
    if skip_bad:
        for split in SPLITS:
            splits[split], count = drop_bad(splits[split])
            skipped[split] += count
    _check_classes(source, splits["train"])
    return Source(source.name, source.classes, splits, skipped)


def _check_classes(source: Source, train: SourceImages) -> None:
    counts = np.bincount(train.labels, minlength=len(source.classes))
    for name, count in zip(source.classes, counts, strict=True):
        if not count:
            raise DataError(f"{source.name}: class {name!r} has no good image left to train on")


def _scattered(
    name: str,
    source: Source,
    size: int,
    epochs: int,
    seed: int,
    fragments: int,
    finish: Finish,
    augmentation: Augmentation | None,
    eval_images: int | None,
) -> dict[str, Images]:
    """Return canvases of the three splits; those of val and test are the same for every seed."""
    made: dict[str, Images] = {}
    for split, images in source.splits.items():
        if not isinstance(images, ArrayImages):
            raise TypeError(f"{name}: canvases are drawn from images in memory, got {type(images).__name__}")
        training = split == "train"
        canvases = ScatteredImages(
            images.images[:, 0],
            images.labels,
            size,
            split=split,
            seed=seed if training else 0,
            fragments=fragments,
            repeats=epochs if training else -(-(eval_images or 1) // len(images)),
            peak=DIGIT_PEAK if name == "scattered-digits" else 255,
            name=name,
            finish=finish,
            augmentation=augmentation if training else None,
        )
        made[split] = canvases if training else _first(canvases, eval_images)
    return made


def _first(images: PreparedImages | ScatteredImages, count: int | None) -> Images:
    """Return the first ``count`` items: a fair sample, as a split's images are in a shuffled order."""
    return images if count is None or count >= len(images) else Subset(images, range(count))
