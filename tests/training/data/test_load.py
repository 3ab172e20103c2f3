from __future__ import annotations

import numpy as np
import pytest
import torch

from sapool.training import gather
from sapool.training.data import load_data
from sapool.training.data.scattered import source_digits


def test_digits_are_those_of_scattered_digits() -> None:
    data = load_data("digits", 8)
    for split, images in (("train", data.train), ("val", data.val), ("test", data.test)):
        digits, labels = source_digits(split)
        shown, classes = gather(images)
        torch.testing.assert_close(shown[:, 2], torch.from_numpy(digits / 16).float(), atol=0.51 / 255, rtol=0)
        assert classes.tolist() == labels.tolist()
    assert load_data("digits", 32).val[0][0].shape == (3, 32, 32)


def test_splits_come_with_their_sizes() -> None:
    data = load_data("scattered-digits", 32, epochs=3)
    assert (data.num_classes, data.images_per_epoch, len(data.train)) == (10, 1000, 3000)  # type: ignore[arg-type]
    images, labels = gather(data.val, 5)
    assert images.shape == (5, 3, 32, 32)
    assert torch.equal(labels, torch.tensor([data.val[i][1] for i in range(5)]))
    (calibration,) = data.calibration(7)
    assert torch.equal(calibration[3], data.train[3][0])


def test_validation_and_test_are_the_same_for_every_seed() -> None:
    one, two = (load_data("scattered-digits", 32, seed=seed) for seed in (0, 1))
    for a, b in ((one.val, two.val), (one.test, two.test)):
        assert torch.equal(a[7][0], b[7][0])
    assert not torch.equal(one.train[7][0], two.train[7][0])


def test_clutter_and_amount_of_scattered_data() -> None:
    bare, full = (load_data("scattered-digits", 64, fragments=count) for count in (0, 40))
    ink = [float((gather(data.val, 20)[0] > 0).float().mean()) for data in (bare, full)]
    assert ink[1] > 2 * ink[0]
    few = load_data("scattered-digits", 32, train_images=50, epochs=3)
    assert (few.images_per_epoch, len(few.train), len(few.val)) == (50, 150, 300)  # type: ignore[arg-type]
    assert np.bincount([few.train[i][1] for i in range(50)]).min() >= 4
    with pytest.raises(ValueError, match="fragments is for the scattered data sets, not for digits"):
        load_data("digits", 8, fragments=3)
    with pytest.raises(ValueError, match="fragments must be at least 0, got -1"):
        load_data("scattered-digits", 32, fragments=-1)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"size": 0}, r"input_size must be an int or \(channels, height, width\), each at least 1, got 0"),
        ({"size": 8, "epochs": 0}, "epochs must be at least 1, got 0"),
        ({"size": 8, "seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_wrong_numbers(kwargs: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load_data("digits", **kwargs)  # type: ignore[arg-type]


def test_eval_images_limits_what_is_evaluated_on() -> None:
    few = load_data("digits", 8, eval_images=20)
    whole = load_data("digits", 8)
    for split in ("val", "test"):
        kept, every = getattr(few, split), getattr(whole, split)
        assert len(kept) == 20
        assert all(torch.equal(kept[i][0], every[i][0]) and kept[i][1] == every[i][1] for i in range(20))
    assert few.images_per_epoch == whole.images_per_epoch
    assert len(load_data("digits", 8, eval_images=10**6).test) == len(whole.test)  # type: ignore[arg-type]


def test_scattered_sets_draw_as_many_canvases_as_are_wanted() -> None:
    many, once = load_data("scattered-digits", 32, seed=3, eval_images=700), load_data("scattered-digits", 32)
    assert (len(many.val), len(many.test)) == (700, 700)  # type: ignore[arg-type]
    assert torch.equal(many.val[299][0], once.val[299][0])
    # The second canvas of a source image shows it elsewhere.
    assert many.val[0][1] == many.val[300][1]
    assert not torch.equal(many.val[0][0], many.val[300][0])


def test_eval_images_under_one_are_refused() -> None:
    with pytest.raises(ValueError, match="eval_images must be at least 1, got 0"):
        load_data("digits", 8, eval_images=0)


@pytest.mark.parametrize(
    "augment", [(), ("crop_pad4", "flip", "random_affine"), ("random_resized_crop", "color_jitter")]
)
def test_any_channels_and_sides(augment: tuple[str, ...]) -> None:
    sizes: list[tuple[int, int, int]] = [(1, 8, 8), (1, 12, 20), (3, 20, 12), (4, 9, 7)]
    for size in sizes:
        data = load_data("digits", size, augment=augment if size[0] < 4 else ())
        for images in (data.train, data.val, data.test):
            assert images[3][0].shape == size
        assert gather(data.train, 5)[0].shape == (5, *size)
        assert next(iter(data.calibration(4))).shape == (4, *size)


def test_grey_pictures_stay_grey() -> None:
    grey, colour = load_data("digits", (1, 8, 8)), load_data("digits", 8)
    assert torch.equal(grey.val[5][0], colour.val[5][0][:1])
    assert torch.equal(
        load_data("scattered-digits", (1, 32, 32)).val[2][0], load_data("scattered-digits", 32).val[2][0][:1]
    )


def test_scattered_canvases_are_square() -> None:
    with pytest.raises(ValueError, match="scattered-digits: its canvases are square, got 32 x 48"):
        load_data("scattered-digits", (3, 32, 48))


def test_one_mean_for_all_channels_or_one_each() -> None:
    plain, normal = load_data("digits", (1, 8, 8)), load_data("digits", (1, 8, 8), mean=(0.5,), std=(0.25,))
    torch.testing.assert_close(normal.val[0][0], (plain.val[0][0] - 0.5) / 0.25)
    with pytest.raises(ValueError, match="mean and std must be one number each"):
        load_data("digits", (1, 8, 8), mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
