from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sapool.detection import ScatteredBoxes, load_boxes, write_coco


def folder(root: Path, splits: dict[str, int]) -> Path:
    for name, count in splits.items():
        write_coco(ScatteredBoxes(name.removesuffix("2017"), 64, count, sides=(24,), digits=(1, 1)), root, name)
    return root


def ids(data: object, count: int) -> list[int]:
    return [int(data[i][1]["image_id"]) for i in range(count)]  # type: ignore[index]


def test_the_embedded_data_draws_new_canvases_every_epoch() -> None:
    data = load_boxes("scattered-digits", 64, epochs=2, train_images=3)
    assert (len(data.train), data.images_per_epoch, data.num_classes) == (6, 3, 10)
    assert not torch.equal(data.train[0][0], data.train[3][0])
    assert not torch.equal(data.val[0][0], data.test[0][0])
    assert len(data.truth("test")["images"]) == len(data.test) == 400
    (batch,) = [next(iter(data.calibration(48, 1)))]
    assert tuple(batch.shape) == (1, 3, 48, 48)


def test_a_folder_with_all_splits_keeps_them(tmp_path: Path) -> None:
    data = load_boxes(str(folder(tmp_path, {"train": 4, "val": 2, "test": 3})), epochs=2, augment=("flip",))
    assert (len(data.train), data.images_per_epoch, len(data.val), len(data.test)) == (8, 4, 2, 3)
    assert sorted(ids(data.train, 4)) == [1, 2, 3, 4]
    assert ids(data.train, 4) == [int(data.train[i + 4][1]["image_id"]) for i in range(4)]


def test_without_a_test_split_training_images_are_held_out(tmp_path: Path) -> None:
    root = folder(tmp_path, {"train2017": 20, "val2017": 2})
    data = load_boxes(str(root), seed=1)
    held, kept = ids(data.val, len(data.val)), ids(data.train, 18)
    assert (len(held), data.images_per_epoch) == (2, 18)
    assert sorted(held + kept) == list(range(1, 21))
    assert ids(data.test, 2) == [1, 2]
    assert [image["id"] for image in data.truth("val")["images"]] == held
    assert {a["image_id"] for a in data.truth("val")["annotations"]} == set(held)
    assert ids(load_boxes(str(root), seed=1).val, 2) == held
    assert ids(load_boxes(str(root), seed=2).val, 2) != held
    assert load_boxes(str(root), train_images=5).images_per_epoch == 5


def test_what_was_left_out_is_said_by_split(tmp_path: Path) -> None:
    root = folder(tmp_path, {"train": 4, "val": 2, "test": 2})
    (root / "val" / f"{1:012d}.png").unlink()
    with pytest.raises(ValueError, match=r"instances_val\.json: image 1: its file .* is missing"):
        load_boxes(str(root))
    assert load_boxes(str(root), skip_bad=True).skipped == {"val": {"bad image": 1}}


def test_classes_that_differ_between_splits_are_refused(tmp_path: Path) -> None:
    root = folder(tmp_path, {"train": 4, "val": 2})
    path = root / "annotations" / "instances_val.json"
    data = json.loads(path.read_text())
    data["categories"][3]["name"] = "three"
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match="the splits train and val must have the same classes"):
        load_boxes(str(root))
    assert load_boxes(str(root), classes=("0", "9")).classes == ("0", "9")


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown detection data 'scatered-digits'.*did you mean scattered-digits"):
        load_boxes("scatered-digits")
    with pytest.raises(ValueError, match="classes go with a COCO folder"):
        load_boxes("scattered-digits", classes=("1",))
    with pytest.raises(ValueError, match="train_images must be at least 1"):
        load_boxes("scattered-digits", train_images=0)
    with pytest.raises(ValueError, match=r"one annotations/instances_val\*\.json, found none"):
        load_boxes(str(folder(tmp_path, {"train": 1})))
