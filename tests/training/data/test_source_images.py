from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sapool.training.data import DataError, load_data
from sapool.training.data.source_images import decode
from tests.training.data.written import pixels, write_tar


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_image_is_read(tmp_path: Path, mode: str) -> None:
    grey = pixels(9, 7)
    if mode == "I;16":
        picture = Image.fromarray(grey.astype(np.uint16) << 8)
    else:
        picture = Image.fromarray(grey if mode in ("1", "L", "LA") else pixels(9, 7, 3)).convert(mode)
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(4):
            picture.save(tmp_path / name / f"{i}.tif")
    data = load_data(f"folder:{tmp_path}", 7)
    image, _ = data.train[0]
    assert image.shape == (3, 7, 7)
    if mode in ("L", "LA", "I;16"):
        np.testing.assert_array_equal((image[1] * 255).round().numpy(), grey[1:8])


@pytest.mark.parametrize(("kind", "said"), [(np.float32, "are floats"), (np.int32, "have 32 bits")])
def test_pixels_of_no_known_range_are_refused(tmp_path: Path, kind: type, said: str) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray((pixels(9, 7) * np.int64(1 << 20)).astype(kind)).save(path)
    with path.open("rb") as file, pytest.raises(DataError, match=f"its pixels {said}: 8 or 16 bits a channel expected"):
        decode(file, str(path))


def test_a_grey_jpeg_becomes_three_channels(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(pixels(16, 16)).save(file, "JPEG")
    write_tar(
        tmp_path / "a.tar",
        {f"{i}.{e}": d for i in range(8) for e, d in (("jpeg", file.getvalue()), ("cls", b"01"[i % 2 : i % 2 + 1]))},
    )
    image, _ = load_data(str(tmp_path), 16).test[0]
    assert image.shape == (3, 16, 16)
    assert torch.equal(image[0], image[1])
