from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sapool.detection import CocoBoxes
from sapool.detection.annotation_file import read_annotations
from tests.detection.written import Change, edit


def set_first(**values: Any) -> Change:
    return lambda data, _: data["annotations"][0].update(values)


def cut_short(data: dict[str, Any], folder: Path) -> None:
    path = folder / "val" / data["images"][0]["file_name"]
    path.write_bytes(path.read_bytes()[:-200])


def no_image(data: dict[str, Any], folder: Path) -> None:
    path = folder / "val" / data["images"][0]["file_name"]
    path.write_text("no image at all")


def another_size(data: dict[str, Any], _: Path) -> None:
    data["images"][0]["width"] = 100


def gone(data: dict[str, Any], folder: Path) -> None:
    (folder / "val" / data["images"][0]["file_name"]).unlink()


def twice(data: dict[str, Any], _: Path) -> None:
    data["annotations"][1]["id"] = data["annotations"][0]["id"]


@pytest.mark.parametrize(
    ("change", "rule", "said"),
    [
        (set_first(image_id=77), "missing image", "annotation 1: its image 77 is not in the file"),
        (set_first(category_id=77), "unknown category", "annotation 1: its category 77 is not in the file"),
        (
            set_first(bbox=[5, 5, 0, 9]),
            "bad box",
            r"annotation 1 \(image 1, .*png\): its box must have an area, got wi",
        ),
        (set_first(bbox=[5, 5, 9, -1]), "bad box", "must have an area"),
        (set_first(bbox=[92, 5, 9, 9]), "bad box", r"\[92, 5, 9, 9\].*must lie inside the image of 96 x 96 px"),
        (set_first(bbox=[96, 5, 1, 9]), "bad box", "must have an area inside the image"),
        (set_first(bbox=[5, 5, 9]), "bad box", "four finite numbers"),
        (set_first(bbox=[5, 5, 9, float("nan")]), "bad box", "four finite numbers"),
        (set_first(image_id=[1]), "missing image", r"annotation 1: its image \[1\] is not in the file"),
        (set_first(category_id=[1]), "unknown category", r"its category \[1\] is not in the file"),
        (set_first(area="large"), "bad box", r"annotation 1 .*its area must be a number of at least 0, got 'large'"),
        (
            set_first(area=10**400),
            "bad box",
            "its area must be a number of at least 0, got a whole number of about 400",
        ),
        (set_first(bbox=[5, 5, 9, 10**400]), "bad box", "four finite numbers"),
        (set_first(bbox=[5, 5, True, 9]), "bad box", "four finite numbers"),
        (set_first(iscrowd="0"), "bad crowd", "annotation 1: its iscrowd must be 0 or 1, got '0'"),
        (set_first(iscrowd=0.5), "bad crowd", r"its iscrowd must be 0 or 1, got 0\.5"),
        (twice, "id used twice", "annotation 1: two annotations have this id"),
        (cut_short, "bad image", r"image 1: its file .*png does not decode"),
        (no_image, "bad image", r"image 1: its file .*png does not decode"),
        (another_size, "bad image", "has 96 x 96 px, the annotations say 100 x 96"),
        (gone, "bad image", r"its file .*png is missing"),
    ],
)
def test_everything_bad_is_found_before_anything_is_used(folder: Path, change: Change, rule: str, said: str) -> None:
    path = edit(folder, change)
    with pytest.raises(ValueError, match=said) as caught:
        CocoBoxes(path, folder / "val")
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    left = CocoBoxes(path, folder / "val", skip_bad=True)
    assert left.skipped == {rule: 1}
    assert len(left) == (4 if rule == "bad image" else 5)
    assert len(left.annotations()["annotations"]) == (8 if rule == "bad image" else 9)
    for index in range(len(left)):
        left[index]


def test_boxes_rounded_over_the_edge_are_cut_off_there(folder: Path) -> None:
    path = edit(folder, set_first(bbox=[-0.5, 80.5, 10, 16.25]))
    boxes = CocoBoxes(path, folder / "val").target(0)["boxes"]
    assert boxes[0].tolist() == [0, 80.5, 9.5, 96]


def test_headers_alone_are_quicker_and_say_later_what_is_wrong(folder: Path) -> None:
    path = edit(folder, cut_short)
    data = CocoBoxes(path, folder / "val", decode=False)
    with pytest.raises(ValueError, match=r"val/0+1\.png does not decode"):
        data[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "not a COCO annotation file"), ("[]", "it must have a list 'images'"), ('{"images": [1]}', "'images'")],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "instances_val.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=said):
        read_annotations(path, tmp_path)


@pytest.mark.parametrize("name", ["../train/1.png", "/etc/passwd", "a/../../1.png"])
def test_an_image_outside_its_folder_is_refused(folder: Path, name: str) -> None:
    path = edit(folder, lambda data, _: data["images"][0].update(file_name=name))
    with pytest.raises(ValueError, match="image 1: file_name must stay inside the image folder"):
        CocoBoxes(path, folder / "val", skip_bad=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data, _: data["images"][0].update(id=10**400), "'id' of every image must be a whole number of at most"),
        (lambda data, _: data["categories"][0].update(name=["a"] * 9999), r"name must be a text, got \['a', 'a'"),
    ],
)
def test_values_that_no_annotation_has_are_one_short_line(folder: Path, change: Change, said: str) -> None:
    path = edit(folder, change)
    with pytest.raises(ValueError, match=said) as caught:
        CocoBoxes(path, folder / "val")
    assert len(str(caught.value).removeprefix(str(path))) < 300


@pytest.mark.parametrize("text", ["[" * 100_000, '{"images": ' * 100_000, '{"images": [' + "9" * 5000])
def test_hostile_json_is_one_line(folder: Path, text: str) -> None:
    path = folder / "annotations" / "instances_val.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"not a COCO annotation file: (nested|not JSON)") as caught:
        CocoBoxes(path, folder / "val")
    assert len(str(caught.value).removeprefix(str(path))) < 300
