from __future__ import annotations

import io
import os
import random
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sapool.detection.image_files import image_size, read_image
from sapool.training.data import DataError
from sapool.training.data.pictures import PictureError, open_regular, picture_size, read_pixels
from sapool.training.data.source_images import decode
from tests.training.data.written import pixels


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def blank_png(width: int, height: int) -> bytes:
    """Return a whole PNG of one bit a pixel."""
    body = zlib.compress(bytes(height * (1 + (width + 7) // 8)), 1)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def encoded(kind: str, image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize(("width", "height"), [(13_000, 13_000), (9_000, 8_000), (20_000, 20_000)])
def test_a_picture_that_would_fill_the_memory_is_refused_by_its_header(width: int, height: int, tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(blank_png(width, height))
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    start = time.perf_counter()
    try:
        with path.open("rb") as file, pytest.raises(DataError, match=r"bomb: damaged image: .*pixels") as caught:
            decode(file, "bomb")
        for read in (read_image, image_size):
            with pytest.raises(ValueError, match="pixels"):
                read(path)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - start < 2
    assert "\n" not in str(caught.value)


def test_only_pictures_are_read_whatever_they_are_called(tmp_path: Path) -> None:
    path = tmp_path / "drawing.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with path.open("rb") as file, pytest.raises(PictureError, match="not an image"):
        read_pixels(file)
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    for read in (open_regular, read_image):
        with pytest.raises(ValueError, match="not a regular file"):
            read(pipe)


def test_both_readers_see_the_same_picture(tmp_path: Path) -> None:
    for kind, mode in (("PNG", "L"), ("PNG", "RGB"), ("TIFF", "RGB"), ("GIF", "P"), ("BMP", "RGB"), ("PPM", "RGB")):
        path = tmp_path / f"a.{kind.lower()}"
        shown = Image.fromarray(pixels(6, 5, 3)).convert(mode)
        path.write_bytes(encoded(kind, shown))
        with path.open("rb") as file:
            grey_or_not = read_pixels(file)
        expected = np.array(shown.convert("RGB"), np.float32).transpose(2, 0, 1) / 255
        np.testing.assert_allclose(read_image(path).numpy(), expected)
        assert grey_or_not.shape == ((6, 5) if mode == "L" else (6, 5, 3))
        assert image_size(path) == (5, 6)


def test_mutated_pictures_are_read_or_refused_in_one_line() -> None:
    """300 seeded mutants of five formats, with tags and lengths changed: none ends in another error or takes long."""
    dice, lines = random.Random(0), list[str]()
    made = Image.fromarray(pixels(9, 8, 3))
    seeds = [encoded(kind, made) for kind in ("PNG", "JPEG", "TIFF", "GIF", "WEBP")]
    for _ in range(300):
        data = bytearray(dice.choice(seeds))
        for _ in range(dice.randint(1, 6)):
            place = dice.randrange(min(len(data), 400))
            data[place] = dice.choice([0, 1, 2, 127, 255, dice.randrange(256)])
        for read in (read_pixels, picture_size):
            start = time.perf_counter()
            try:
                read(io.BytesIO(bytes(data)))
            except PictureError as error:
                lines.append(str(error))
            assert time.perf_counter() - start < 5
    assert len(lines) > 50
    assert not any("\n" in line for line in lines)
