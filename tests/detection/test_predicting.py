from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from sapool.detection.predicting import find_images, predict_files

CLASSES = ("cat", "dog")


class Finder(nn.Module):
    """Finds one sure dog and one doubtful cat on every image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        boxes = torch.tensor([[2.0, 3.0, 12.0, 9.0], [0.0, 0.0, 5.0, 5.0]])
        found = {"boxes": boxes, "labels": torch.tensor([2, 1]), "scores": torch.tensor([0.9, 0.3])}
        return [found for _ in images]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("b.png", "a.jpg"):
        Image.new("RGB", (32, 20), (90, 20, 20)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


def test_boxes_are_drawn_and_written(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    found = predict_files(Finder().eval(), [images], CLASSES, out)
    assert json.loads((out / "results.json").read_text()) == found
    assert [Path(entry["image"]).name for entry in found] == ["a.jpg", "b.png"]
    (box,) = found[0]["boxes"]
    assert (box["class"], box["bbox"]) == ("dog", [2.0, 3.0, 10.0, 6.0])
    assert box["score"] == pytest.approx(0.9)
    for name in ("a.png", "b.png"):
        with Image.open(out / name) as drawn:
            assert drawn.size == (32, 20)
            pixels = np.array(drawn.convert("RGB")).astype(int)
        assert np.abs(pixels[6, 2] - (90, 20, 20)).max() > 50  # the left edge of the box
        assert np.abs(pixels[18, 30] - (90, 20, 20)).max() < 8


def test_the_score_decides(images: Path, tmp_path: Path) -> None:
    (entry,) = predict_files(Finder(), [images / "b.png"], CLASSES, tmp_path / "x", min_score=0.2)
    assert [box["class"] for box in entry["boxes"]] == ["dog", "cat"]


def test_mistakes_are_named_before_anything_is_written(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    with pytest.raises(ValueError, match="no such file or folder"):
        predict_files(Finder(), [images / "c.png"], CLASSES, out)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="holds no image"):
        find_images([empty])
    with pytest.raises(ValueError, match=r"would both be drawn as b\.png"):
        find_images([images, images / "b.png"])
    with pytest.raises(ValueError, match="would be overwritten by its drawing"):
        predict_files(Finder(), [images / "b.png"], CLASSES, images)
    assert not out.exists()
    (images / "bad.png").write_text("not an image")
    with pytest.raises(ValueError, match=r"bad\.png does not decode"):
        predict_files(Finder(), [images / "bad.png"], CLASSES, out)
