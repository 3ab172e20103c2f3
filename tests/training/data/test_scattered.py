from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader

from sapool.training import ScatteredDigits
from sapool.training.data.scattered import SPLIT_SIZES, source_digits


def test_splits_share_no_source_digit() -> None:
    bundle = load_digits().images
    seen: set[bytes] = set()
    for split, count in SPLIT_SIZES.items():
        digits, labels = source_digits(split)
        assert digits.shape == (count, 8, 8)
        assert labels.shape == (count,)
        small = {digit.tobytes() for digit in digits}
        assert not small & seen
        seen |= small
    assert sum(SPLIT_SIZES.values()) == len(bundle)
    assert seen == {image.astype(np.uint8).tobytes() for image in bundle}


def test_the_whole_digit_lies_in_its_box() -> None:
    data = ScatteredDigits("val", 50, seed=3)
    digits, labels = source_digits("val")
    for index in (0, 7, 299):
        drawn = data.sample(index)
        x0, y0, x1, y1 = drawn.box
        assert (x1 - x0, y1 - y0) == (24, 24)
        assert x0 >= 0
        assert x1 <= 50
        for channel in drawn.image:
            for pixel in range(24 * 24):
                row, column = divmod(pixel, 24)
                assert channel[y0 + row, x0 + column] == digits[index, row // 3, column // 3] / 16
        assert drawn.label == labels[index]
        assert data[index][1] == drawn.label


def test_a_canvas_is_what_a_loop_over_its_pixels_draws() -> None:
    data = ScatteredDigits("test", 40, seed=5, fragments=4, fragment_size=7)
    digits, _ = source_digits("test")
    for index in (0, 400):
        rng = np.random.default_rng([5, 2, index])
        canvas = np.zeros((40, 40))
        others = (index + rng.integers(1, 497, 4)) % 497
        cuts, places = rng.integers(0, 24 - 7 + 1, (4, 2)), rng.integers(0, 40 - 7 + 1, (4, 2))
        for other, cut, place in zip(others, cuts, places, strict=True):
            for r in range(7):
                for c in range(7):
                    ink = digits[other, (cut[0] + r) // 3, (cut[1] + c) // 3] / 16
                    canvas[place[0] + r, place[1] + c] = max(canvas[place[0] + r, place[1] + c], ink)
        row, column = rng.integers(0, 40 - 24 + 1, 2)
        for r in range(24):
            for c in range(24):
                canvas[row + r, column + c] = digits[index, r // 3, c // 3] / 16
        np.testing.assert_array_equal(data[index][0][1].numpy(), canvas)
        assert data.sample(index).box == (column, row, column + 24, row + 24)


def test_many_canvases_at_once_are_the_same() -> None:
    data = ScatteredDigits("train", 32, repeats=2)
    indices = [1999, 3, 3, 70]
    for index, (image, label) in zip(indices, data.__getitems__(indices), strict=True):
        assert torch.equal(image, data[index][0])
        assert label == data[index][1]


def test_images_are_three_channels_in_zero_to_one() -> None:
    image, label = ScatteredDigits("train", 64)[5]
    assert image.shape == (3, 64, 64)
    assert image.dtype == torch.float32
    assert image.min() == 0
    assert 0.5 < image.max() <= 1
    assert 0 <= label < 10


def test_seed_and_index_decide_everything() -> None:
    first, again, other = (ScatteredDigits("train", 40, seed=s) for s in (1, 1, 2))
    assert torch.equal(first[9][0], again[9][0])
    assert first.sample(9).box == again.sample(9).box
    assert not torch.equal(first[9][0], other[9][0])
    assert first[9][1] == other[9][1]
    longer = ScatteredDigits("train", 40, seed=1, repeats=3)
    assert torch.equal(longer[9][0], first[9][0])
    assert longer[1009][1] == first[9][1]
    assert not torch.equal(longer[1009][0], first[9][0])


def test_fragments_surround_the_digit() -> None:
    bare, cluttered = ScatteredDigits("test", 96, fragments=0), ScatteredDigits("test", 96, fragments=8)
    for index in range(20):
        x0, y0, x1, y1 = bare.sample(index).box
        image = bare[index][0].clone()
        image[:, y0:y1, x0:x1] = 0
        assert image.sum() == 0
        assert (cluttered[index][0][0] > 0).sum() > (bare[index][0][0] > 0).sum()


def test_lengths_and_iteration_end() -> None:
    assert [len(ScatteredDigits(split)) for split in ("train", "val", "test")] == [1000, 300, 497]
    data = ScatteredDigits("val", 24, repeats=2)
    assert len(data) == 600
    assert sum(len(labels) for _, labels in DataLoader(data, 64)) == 600
    assert torch.equal(data[-1][0], data[599][0])
    with pytest.raises(IndexError):
        data[600]


def test_a_canvas_as_large_as_the_digit_is_the_digit() -> None:
    assert ScatteredDigits("train", 24).sample(0).box == (0, 0, 24, 24)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"size": 23}, "at least 24 px a side, got 23"),
        ({"split": "dev"}, "split must be one of train, val, test, got 'dev'"),
        ({"fragment_size": 25}, "fragment_size must be 1 to 24 px, got 25"),
        ({"fragments": -1}, "fragments=-1"),
        ({"repeats": 0}, "repeats=0"),
    ],
)
def test_bad_requests_are_refused(kwargs: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ScatteredDigits(**({"split": "train"} | kwargs))  # type: ignore[arg-type]
