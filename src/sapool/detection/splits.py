"""Detection data by name or folder, in three splits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from sapool.base.ranges import MOST_IMAGES, check_range
from sapool.base.suggest import suggest
from sapool.detection.augment import AugmentedBoxes
from sapool.detection.boxes import BoxDataset, CocoAnnotations
from sapool.detection.coco import CocoBoxes, PartOf, find_coco, ground_truth
from sapool.detection.digits import ScatteredBoxes

BOX_DATA_SETS = ("scattered-digits",)
_EVALUATED = {"val": 200, "test": 400}
_HELD_OUT = 10  # one image of so many


@dataclass(frozen=True)
class BoxSplits:
    """Three splits; ``train`` holds ``images_per_epoch`` images for every epoch, augmented anew.

    Attributes:
        name: of the data.
        train: images with targets, no crowds.
        val: what the best epoch is chosen on; crowds included.
        test: what is reported; crowds included.
        images_per_epoch: of ``train``.
        classes: names, label 1 first.
        skipped: what was left out, by split and rule.
    """

    name: str
    train: AugmentedBoxes
    val: BoxDataset
    test: BoxDataset
    images_per_epoch: int
    classes: tuple[str, ...]
    skipped: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """Classes without the background."""
        return len(self.classes)

    def truth(self, split: str) -> CocoAnnotations:
        """Return the COCO annotations of ``"val"`` or ``"test"``."""
        return ground_truth(self.val if split == "val" else self.test)

    def calibration(self, size: int | tuple[int, int], count: int = 128) -> Iterator[Tensor]:
        """Yield training images (1, 3, H, W), without augmentation, to set a backbone's int8 ranges by.

        Args:
            size: the side of squares, or (H, W), in pixels.
            count: how many at most.
        """
        for index in range(min(count, self.images_per_epoch)):
            image, _ = self.train.dataset[index]
            yield F.interpolate(
                image[None], (size, size) if isinstance(size, int) else size, mode="bilinear", antialias=True
            )


def load_boxes(
    source: str,
    size: int = 128,
    *,
    epochs: int = 1,
    seed: int = 0,
    augment: Sequence[str] = (),
    classes: Sequence[str] | None = None,
    skip_bad: bool = False,
    train_images: int | None = None,
) -> BoxSplits:
    """Load detection data.

    Args:
        source: ``scattered-digits``, or a COCO folder (:func:`find_coco`) with a ``train...`` and a ``val...`` split.
            Where it has no ``test...`` of its own, its ``val`` is the test split and every tenth training image, by
            ``seed``, is held out to choose the epoch on.
        size: side of drawn canvases, in pixels; a folder's images keep theirs, as the detector resizes them.
        epochs: passes over the training split.
        seed: of whatever is drawn, held out and augmented.
        augment: names of :data:`BOX_AUGMENTATIONS`.
        classes: of a folder: names of the classes to keep, label 1 first.
        skip_bad: of a folder: leave out and count what breaks a rule.
        train_images: training images an epoch; default 1000 canvases, or all of a folder's.

    Returns:
        The splits.

    Raises:
        ValueError: an unknown name, a folder without these splits, or bad data: the file, the id and the rule.
    """
    if train_images is not None:
        check_range("train_images", train_images, 1, MOST_IMAGES)
    if source in BOX_DATA_SETS:
        if classes is not None:
            raise ValueError(f"classes go with a COCO folder, {source} has its own: name none")
        drawn = ScatteredBoxes("train", size, (train_images or 1000) * epochs, seed=seed)
        train = AugmentedBoxes(drawn, augment, seed=seed)
        val, test = (ScatteredBoxes(split, size, count, seed=seed) for split, count in _EVALUATED.items())
        return BoxSplits(source, train, val, test, len(train) // epochs, ScatteredBoxes.classes)
    if not Path(source).is_dir():
        raise ValueError(
            f"unknown detection data {source!r}: no such folder; of names, {suggest(source, BOX_DATA_SETS)}"
        )
    return _from_folder(Path(source), epochs, seed, augment, classes, skip_bad, train_images)


def _from_folder(
    root: Path,
    epochs: int,
    seed: int,
    augment: Sequence[str],
    classes: Sequence[str] | None,
    skip_bad: bool,
    train_images: int | None,
) -> BoxSplits:
    places = find_coco(root)
    named = {kind: sorted(split for split in places if split.startswith(kind)) for kind in ("train", "val", "test")}
    for kind in ("train", "val"):
        if len(named[kind]) != 1:
            raise ValueError(
                f"{root}: there must be one annotations/instances_{kind}*.json, found {named[kind] or 'none'}"
            )
    loaded = {
        kind: CocoBoxes(*places[splits[0]], classes=classes, skip_bad=skip_bad)
        for kind, splits in named.items()
        if len(splits) == 1
    }
    train, val = loaded["train"], loaded["val"]
    for kind, other in loaded.items():
        if (other.classes, other.category_ids) != (train.classes, train.category_ids):
            raise ValueError(
                f"{root}: the splits train and {kind} must have the same classes: {train.classes} and {other.classes}"
            )
    order = np.random.default_rng(seed).permutation(len(train)).tolist()
    test: BoxDataset = loaded.get("test", val)
    chosen_on: BoxDataset = val
    if "test" not in loaded:
        held = max(1, len(order) // _HELD_OUT)
        chosen_on, order = PartOf(train, sorted(order[:held])), order[held:]
    if not order:
        raise ValueError(f"{root}: too few training images, {len(train)}: one is held out to choose the epoch on")
    part = PartOf(train, order[:train_images])
    skipped = {kind: data.skipped for kind, data in loaded.items() if data.skipped}
    augmented = AugmentedBoxes(part, augment, epochs=epochs, seed=seed)
    return BoxSplits(str(root), augmented, chosen_on, test, len(part), train.classes, skipped)
