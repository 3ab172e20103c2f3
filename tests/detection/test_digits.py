from __future__ import annotations

from typing import Any

import pytest
import torch

from sapool.detection import ScatteredBoxes
from sapool.training import ScatteredDigits


def test_the_same_seed_and_index_give_the_same_canvas() -> None:
    one, two = ScatteredBoxes("train", 96, 5), ScatteredBoxes("train", 96, 9)
    for index in (0, 4):
        assert torch.equal(one[index][0], two[index][0])
        assert torch.equal(one[index][1]["boxes"], two[index][1]["boxes"])
    assert torch.equal(one[-1][0], one[4][0])
    assert not torch.equal(one[0][0], one[1][0])
    assert not torch.equal(one[0][0], ScatteredBoxes("train", 96, 5, seed=1)[0][0])
    with pytest.raises(IndexError):
        one[5]


def test_every_box_holds_a_whole_digit_of_its_class_and_split() -> None:
    """Shrunk back to 8 x 8, what a box holds is one of the split's own digits, of the class that its label says."""
    source = ScatteredDigits("val", 24, fragments=0)
    digits: dict[bytes, set[int]] = {}
    for index in range(len(source)):
        image, label = source[index]
        digits.setdefault(image[0, ::3, ::3].contiguous().numpy().tobytes(), set()).add(int(label))
    data = ScatteredBoxes("val", 128, 30)
    counts, sides = list[int](), set[int]()
    for index in range(len(data)):
        image, target = data[index]
        assert tuple(image.shape) == (3, 128, 128)
        assert int(target["image_id"]) == index + 1
        counts.append(len(target["labels"]))
        for (x0, y0, x1, y1), label in zip(target["boxes"].int().tolist(), target["labels"].tolist(), strict=True):
            step = (x1 - x0) // 8
            assert x1 - x0 == y1 - y0
            sides.add(x1 - x0)
            found = image[0, y0:y1:step, x0:x1:step].contiguous().numpy().tobytes()
            assert label - 1 in digits[found]
    assert min(counts) == 1
    assert max(counts) > 3
    assert sides == {24, 32, 40}


def test_digits_never_overlap_and_fragments_lie_around() -> None:
    data = ScatteredBoxes("train", 96, 20, digits=(5, 5))
    for index in range(len(data)):
        image, target = data[index]
        covered = torch.zeros(96, 96)
        for x0, y0, x1, y1 in target["boxes"].int().tolist():
            covered[y0:y1, x0:x1] += 1
        assert covered.max() == 1
        assert float(image[0][covered == 0].sum()) > 0
        assert torch.equal(target["area"], (target["boxes"][:, 2:] - target["boxes"][:, :2]).prod(1))


@pytest.mark.parametrize(
    "kwargs",
    [
        {"split": "all"},
        {"sides": (20,)},
        {"sides": (72,)},
        {"digits": (0, 2)},
        {"digits": (3, 2)},
        {"images": 0},
        {"fragments": -1},
        {"fragment_size": 25},
    ],
)
def test_values_out_of_range_are_named(kwargs: dict[str, Any]) -> None:
    kwargs = dict(kwargs)
    with pytest.raises(ValueError, match=f"scattered-digits: .*{next(iter(kwargs))}"):
        ScatteredBoxes(kwargs.pop("split", "train"), 64, kwargs.pop("images", 3), **kwargs)
