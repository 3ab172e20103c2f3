from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sapool.detection import draw_boxes, write_drawing


def found() -> dict[str, torch.Tensor]:
    boxes = torch.tensor([[10.0, 20, 50, 60], [5, 70, 30, 90]])
    return {"boxes": boxes, "labels": torch.tensor([1, 2]), "scores": torch.tensor([0.9, 0.3])}


def test_boxes_above_the_score_are_drawn_and_nothing_far_from_them() -> None:
    image = torch.full((3, 100, 120), 0.5)
    drawn = draw_boxes(image, found(), ("cat", "dog"))
    changed = (drawn != 128).any(0)
    assert drawn.dtype == torch.uint8
    assert bool(changed[20, 15:45].all())  # the upper edge
    assert bool(changed[25:55, 50].all())
    assert not bool(changed[65:].any())  # the second box scores too little
    both = draw_boxes(image, found(), ("cat", "dog"), min_score=0.2)
    assert bool((both != 128).any(0)[70:91, 5].all())
    assert not torch.equal(both[:, 40, 10], both[:, 80, 5])  # a colour a class


def test_nothing_found_leaves_the_image() -> None:
    image = torch.rand(3, 20, 20)
    drawn = draw_boxes(image, found(), ("cat", "dog"), min_score=0.95)
    assert torch.equal(drawn, (image * 255).round().to(torch.uint8))


def test_a_drawing_is_written_as_png(tmp_path: Path) -> None:
    drawn = draw_boxes(torch.rand(3, 100, 120), found(), ("cat", "dog"))
    write_drawing(drawn, tmp_path / "new" / "a.png")
    with Image.open(tmp_path / "new" / "a.png") as opened:
        assert torch.equal(torch.from_numpy(np.array(opened)).permute(2, 0, 1), drawn)
    with pytest.raises(ValueError, match=r"a\.jpg: drawings are written as \.png"):
        write_drawing(drawn, tmp_path / "a.jpg")


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match=r"min_score must be in \[0, 1\], got 2"):
        draw_boxes(torch.rand(3, 100, 120), found(), ("cat", "dog"), min_score=2)
    with pytest.raises(ValueError, match=r"labels must be 1 to 1.*\[1, 2\]"):
        draw_boxes(torch.rand(3, 100, 120), found(), ("cat",), min_score=0)
