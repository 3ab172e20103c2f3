from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from sapool.detection.image_files import as_bytes, encode_png, image_size, read_image


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (3, 5, 7), dtype=torch.uint8)
    (tmp_path / "a.png").write_bytes(encode_png(pixels))
    read = read_image(tmp_path / "a.png")
    assert read.dtype == torch.float32
    assert torch.equal(as_bytes(read), pixels)
    assert image_size(tmp_path / "a.png") == (7, 5)


def test_bytes_are_rounded_and_clamped() -> None:
    values = torch.tensor([-1.0, 0.0, 0.5, 127.6 / 255, 1.0, 2.0]).view(1, 1, 6)
    assert as_bytes(values).flatten().tolist() == [0, 0, 128, 128, 255, 255]


def test_grey_and_transparent_images_have_three_channels(tmp_path: Path) -> None:
    for mode in ("L", "RGBA", "P"):
        Image.new(mode, (4, 3)).save(tmp_path / "a.png")
        assert read_image(tmp_path / "a.png").shape == (3, 3, 4)


def test_a_part_of_an_image_has_a_header_and_no_pixels(tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    (tmp_path / "a.png").write_bytes(encode_png(pixels)[:-2000])
    assert image_size(tmp_path / "a.png", decode=False) == (64, 64)
    with pytest.raises((OSError, ValueError)):
        image_size(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png does not decode"):
        read_image(tmp_path / "a.png")
