from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapool.training.data import DataError
from sapool.training.data.source_images import ArrayImages
from sapool.training.data.splitting import SPLITS, Source, keep_images, match_classes, three_splits


def numbered(counts: list[int], start: int = 0) -> ArrayImages:
    """Images whose only pixels spell their number."""
    total = sum(counts)
    numbers = np.arange(start, start + total, dtype=np.uint32)
    return ArrayImages(
        numbers.view(np.uint8).reshape(total, 1, 2, 2), np.repeat(np.arange(len(counts)), counts), "here"
    )


def numbers(images: object) -> list[int]:
    assert isinstance(images, ArrayImages)
    return np.ascontiguousarray(images.images).reshape(-1).view(np.uint32).tolist()


def source(counts: list[int], split: str = "all") -> Source:
    return Source("made", tuple(f"c{i}" for i in range(len(counts))), {split: numbered(counts)})


@given(st.lists(st.integers(3, 60), min_size=1, max_size=6))
def test_every_image_is_in_one_split_and_every_class_in_all(counts: list[int]) -> None:
    splits = three_splits(source(counts)).splits
    found = [number for split in SPLITS for number in numbers(splits[split])]
    assert sorted(found) == list(range(sum(counts)))
    for split in SPLITS:
        assert np.bincount(splits[split].labels, minlength=len(counts)).min() >= 1
        for number, label in zip(numbers(splits[split]), splits[split].labels, strict=True):
            assert label == np.searchsorted(np.cumsum(counts), number, side="right")


def test_the_same_every_time_and_in_proportion() -> None:
    counts = [100, 300, 50]
    first, again = three_splits(source(counts)).splits, three_splits(source(counts)).splits
    for split, share in zip(SPLITS, (0.7, 0.1, 0.2), strict=True):
        assert numbers(first[split]) == numbers(again[split])
        assert np.bincount(first[split].labels).tolist() == [round(share * count) for count in counts]
    # The first few are a fair sample, not the first class.
    assert set(first["test"].labels[:30].tolist()) == {0, 1, 2}


def test_at_most_ten_thousand_are_held_out() -> None:
    train = numbered([100_000, 50_000])
    found = Source("made", ("a", "b"), {"train": train, "val": numbered([5, 5], 10**6)})
    splits = three_splits(found).splits
    assert (len(splits["train"]), len(splits["val"])) == (140_000, 10_000)
    assert sorted(numbers(splits["test"])) == list(range(10**6, 10**6 + 10))
    assert np.bincount(splits["val"].labels).tolist() == [6667, 3333]


def test_fewer_training_images_are_among_more() -> None:
    made = source([200, 100, 20], "train")
    train = made.splits["train"]
    kept = [set(numbers(keep_images(made, train, count))) for count in (16, 80, 160)]
    assert kept[0] < kept[1] < kept[2]
    assert np.bincount(keep_images(made, train, 80).labels).tolist() == [50, 25, 5]
    assert keep_images(made, train, 320) is train
    for count in (2, 321):
        with pytest.raises(ValueError, match=rf"train_images must be 3 \(one a class\) to 320 .* got {count}"):
            keep_images(made, train, count)


def test_too_few_of_a_class() -> None:
    with pytest.raises(DataError, match="made: class 'c1' has 1 image: too few to take some for test"):
        three_splits(source([5, 1]))
    with pytest.raises(DataError, match="made: class 'c1' has no image"):
        three_splits(Source("made", ("c0", "c1"), {"train": numbered([5]), "test": numbered([5])}))
    empty = {"train": numbered([5, 5]), "val": numbered([5, 5]), "test": numbered([])}
    with pytest.raises(DataError, match="the test split is empty"):
        three_splits(Source("made", ("c0", "c1"), dict(empty)))


def test_classes_that_differ() -> None:
    assert match_classes("x", {"train": ["b", "a"], "val": ["a", "b"]}) == ["b", "a"]
    with pytest.raises(DataError, match="x: classes differ between splits: train has 'b', 'c', val has not"):
        match_classes("x", {"train": ["a", "b", "c"], "val": ["a"]})
