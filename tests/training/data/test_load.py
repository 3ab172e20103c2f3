from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from sapool.training import gather
from sapool.training.data import Batch, collate, load_data
from sapool.training.data.scattered import source_digits
from tests.training.data.written import write_cifar10, write_classes, write_mnist


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
    with pytest.raises(ValueError, match="scattered-digits: fragments and seed must be at least 0"):
        load_data("scattered-digits", 32, fragments=-1)


def test_canvases_can_be_augmented_and_normalised() -> None:
    plain = load_data("scattered-digits", 32)
    half = ((0.5,) * 3, (0.5,) * 3)
    normalised = load_data("scattered-digits", 32, mean=half[0], std=half[1])
    torch.testing.assert_close(normalised.val[3][0], plain.val[3][0] * 2 - 1)
    flipped = load_data("scattered-digits", 32, augment=("flip",))
    kinds = set()
    for i in range(12):
        image, same = flipped.train[i][0], plain.train[i][0]
        near = [torch.allclose(image, form, atol=0.5 / 255 + 1e-6) for form in (same, same.flip(2))]
        assert any(near)
        kinds.add(near.index(True))
    assert kinds == {0, 1}
    (calibration,) = flipped.calibration(12)
    assert torch.equal(calibration, gather(plain.train, 12)[0])


def test_a_batch_is_its_items(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "c")
    for size in (32, 20, 48):
        data = load_data(f"cifar10:{tmp_path}/c", size, epochs=2, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0))
        indices = [3, 100, 179, 3]
        batch = data.train.__getitems__(indices)  # type: ignore[attr-defined]
        assert isinstance(batch, Batch)
        images, labels = collate(batch)
        same, same_labels = default_collate(list(batch))
        assert torch.equal(images, same)
        assert torch.equal(labels, same_labels)
        for row, index in enumerate(indices):
            torch.testing.assert_close(images[row], data.train[index][0], atol=1e-6, rtol=0)
            assert labels[row] == data.train[index][1]
    total = sum(len(labels) for _, labels in DataLoader(data.val, 3, collate_fn=collate))
    assert total == len(data.val)  # type: ignore[arg-type]
    with pytest.raises(IndexError, match="index must be under 180, got 180"):
        data.train[180]


def test_bare_folders_are_recognised(tmp_path: Path) -> None:
    write_mnist(tmp_path / "m" / "KMNIST" / "raw")
    write_cifar10(tmp_path / "c" / "cifar-10-batches-bin")
    write_classes(tmp_path / "f", {"x": 8, "y": 8})
    assert [load_data(str(tmp_path / name), 8).num_classes for name in "mcf"] == [4, 10, 2]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("scatered-digits", r"unknown data set 'scatered-digits': did you mean scattered-digits\?"),
        ("zzz", "unknown data set 'zzz': choose from scattered-digits, digits"),
        ("cifar:data", r"unknown data set 'cifar': did you mean cifar10"),
        ("cifar10", "cifar10 needs a folder: write cifar10:DIR"),
        ("cifar10:/no/where", "no such folder: /no/where"),
        ("stl10:", "no such folder: none is named"),
        ("/no/where", "data '/no/where': no such folder"),
        ("./where", "no such folder"),
        ("digits:/tmp", "digits come with scikit-learn: no folder is read"),
    ],
)
def test_wrong_sources(source: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load_data(source, 32)


def test_a_coco_folder_is_no_folder_of_classes(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_train.json").write_text("{}")
    with pytest.raises(ValueError, match="boxes in COCO's format, no classes: sapool detect train --data"):
        load_data(str(tmp_path), 32)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"size": 0}, "size must be at least 1, got 0"),
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
