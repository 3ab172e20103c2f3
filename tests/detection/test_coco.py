from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sapool.detection import CocoBoxes, ScatteredBoxes, annotations_of, find_coco, ground_truth, write_coco
from tests.detection.written import edit


def test_what_is_written_is_read_back(folder: Path) -> None:
    drawn = ScatteredBoxes("val", 96, 5, sides=(24,), digits=(2, 2))
    read = CocoBoxes(*find_coco(folder)["val"])
    assert len(read) == 5
    assert read.classes == drawn.classes
    for (image, target), (own, expected) in zip((read[i] for i in range(5)), (drawn[i] for i in range(5)), strict=True):
        assert float((image - own).abs().max()) <= 0.5 / 255 + 1e-6
        for key in ("boxes", "labels", "image_id", "iscrowd", "area"):
            assert torch.equal(target[key], expected[key]), key
    assert read.annotations()["annotations"] == annotations_of(drawn)["annotations"]


def test_any_other_tool_reads_the_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from torchvision.datasets import CocoDetection

    place, images = find_coco(folder)["val"]
    other = CocoDetection(str(images), str(place))
    assert len(other) == 5
    image, objects = other[0]
    assert image.size == (96, 96)
    assert {"bbox", "category_id", "iscrowd", "area"} <= objects[0].keys()


def test_a_split_that_is_there_is_not_written_over(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"instances_val\.json exists"):
        write_coco(ScatteredBoxes("val", 64, 1), folder, "val")


def test_crowds_empty_images_and_class_subsets(folder: Path) -> None:
    def change(data: dict[str, Any], _: Path) -> None:
        for entry in data["annotations"]:
            entry["category_id"] = 4 if entry["image_id"] == 1 else 7
            entry["iscrowd"] = int(entry["image_id"] == 2)
        data["images"].reverse()

    path = edit(folder, change)
    data = CocoBoxes(path, folder / "val", classes=("6", "3"))
    assert data.category_ids == (7, 4)
    assert [int(data.target(i)["image_id"]) for i in range(5)] == [1, 2, 3, 4, 5]
    assert data.target(0)["labels"].tolist() == [2, 2]
    assert data.target(1)["iscrowd"].tolist() == [1, 1]
    only = CocoBoxes(path, folder / "val", classes=("3",))
    assert len(only) == 5
    assert tuple(only[1][1]["boxes"].shape) == (0, 4)
    assert [a["image_id"] for a in ground_truth(only)["annotations"]] == [1, 1]
    with pytest.raises(ValueError, match=r"instances_val\.json: unknown class 'nine'"):
        CocoBoxes(path, folder / "val", classes=("nine",))


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a COCO folder"):
        find_coco(tmp_path)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_train2017.json").write_text("{}")
    with pytest.raises(ValueError, match=r"its images must be in one of .*train2017"):
        find_coco(tmp_path)
