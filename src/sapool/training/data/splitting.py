"""Which image belongs to which split: by class, by a constant seed, never by the run's."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sapool.training.data.source_images import DataError, Indices, Labels, SourceImages

SPLITS = ("train", "val", "test")
# Constant, so that validation and test are the same for every run.
SPLIT_SEED = 2209
HELD_OUT_SHARE, HELD_OUT_MOST = 0.1, 10_000
VAL_SHARE, TEST_SHARE = 0.1, 0.2


@dataclass(frozen=True)
class Source:
    """What a reader found: the splits that lie on disk, or one named ``all``.

    Attributes:
        name: what messages call it.
        classes: names, in the order of the labels.
        splits: images by split: ``all``; ``train`` and ``val`` or ``test``; or the three.
        skipped: damaged records that the reader left out, by split.
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, SourceImages]
    skipped: dict[str, int] = field(default_factory=dict)


def three_splits(source: Source) -> Source:
    """Return ``source`` with train, val and test, which share no image.

    Three that are there stay; without any, 70, 10 and 20 % of every class; with train and test, 10 % of train (at
    most 10,000) becomes val; with train and val, val is our test, and ours is held out of train as before.

    Raises:
        DataError: a class with too few images, or an empty split.
    """
    found = source.splits
    if "all" in found:
        made = _share_out(source, found["all"])
    elif "val" in found and "test" in found:
        made = dict(found)
    else:
        made = _hold_out(source, found["train"]) | {"test": found["test"] if "test" in found else found["val"]}
    for split in SPLITS:
        if not len(made[split]):
            raise DataError(f"{source.name}: the {split} split is empty")
    skipped = dict(source.skipped)
    if "test" not in found and "val" in skipped:
        skipped["test"] = skipped.pop("val")
    shuffled = {split: made[split].take(_shuffled(np.arange(len(made[split])))) for split in SPLITS}
    return Source(source.name, source.classes, shuffled, skipped)


def _share_out(source: Source, images: SourceImages) -> dict[str, SourceImages]:
    test, rest = stratified(source, images.labels, round(TEST_SHARE * len(images)), "test")
    kept = images.take(rest)
    val, train = stratified(source, kept.labels, round(VAL_SHARE * len(images)), "val")
    return {"train": kept.take(train), "val": kept.take(val), "test": images.take(test)}


def _hold_out(source: Source, images: SourceImages) -> dict[str, SourceImages]:
    count = min(round(HELD_OUT_SHARE * len(images)), HELD_OUT_MOST)
    val, train = stratified(source, images.labels, count, "val")
    return {"train": images.take(train), "val": images.take(val)}


def stratified(source: Source, labels: Labels, count: int, purpose: str, left: int = 1) -> tuple[Indices, Indices]:
    """Choose ``count`` of the images, of every class in proportion and at least one, and return (chosen, others).

    ``left`` of every class stay behind at least.

    Of one class, fewer are always among more: a study of the amount of data adds images.

    Raises:
        DataError: a class that would be left without an image on either side.
    """
    sizes = np.bincount(labels, minlength=len(source.classes))
    for name, size in zip(source.classes, sizes, strict=True):
        if size < 1 + left:
            have = "has no image" if size == 0 else "has 1 image"
            raise DataError(f"{source.name}: class {name!r} {have}: too few to take some for {purpose}")
    chosen, others = [], []
    for label, taken in enumerate(_in_proportion(sizes, count, left)):
        order = _shuffled(np.flatnonzero(labels == label), label)
        chosen.append(order[:taken])
        others.append(order[taken:])
    return np.sort(np.concatenate(chosen)), np.sort(np.concatenate(others))


def _in_proportion(sizes: Labels, count: int, left: int) -> Labels:
    """Return how many of each class: the exact shares rounded down, the rest to those that lost most."""
    exact = sizes * (count / sizes.sum())
    taken = np.floor(exact).astype(np.int64)
    rest = count - int(taken.sum())
    taken[np.argsort(taken - exact, kind="stable")[:rest]] += 1
    return np.clip(taken, 1, sizes - left)


def keep_images(source: Source, images: SourceImages, count: int) -> SourceImages:
    """Return a stratified ``count`` of the training images.

    Raises:
        ValueError: more than there are, or fewer than classes.
    """
    if not len(source.classes) <= count <= len(images):
        raise ValueError(
            f"train_images must be {len(source.classes)} (one a class) to {len(images)} (what {source.name} has), "
            f"got {count}"
        )
    if count == len(images):
        return images
    chosen, _ = stratified(source, images.labels, count, "training", left=0)
    return images.take(_shuffled(chosen))


def _shuffled(indices: Indices, stream: int = 0) -> Indices:
    """Return ``indices`` in an order that is fixed for all time, so that the first few are a fair sample."""
    return np.random.default_rng([SPLIT_SEED, stream]).permutation(indices)


def match_classes(name: str, found: dict[str, list[str]]) -> list[str]:
    """Return the class names that all splits have.

    Raises:
        DataError: they differ; the message says which class is where.
    """
    first, *others = found
    for other in others:
        for one, two in ((first, other), (other, first)):
            missing = sorted(set(found[one]) - set(found[two]))
            if missing:
                listed = ", ".join(repr(label) for label in missing[:5]) + (", ..." if len(missing) > 5 else "")
                raise DataError(f"{name}: classes differ between splits: {one} has {listed}, {two} has not")
    return found[first]
