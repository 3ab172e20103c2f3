"""The one reader of picture files, for classification and for boxes: regular files, known formats, bounded size."""

from __future__ import annotations

import os
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sapool.base.errors import SapoolError
from sapool.base.extras import require
from sapool.base.quoting import one_line

MOST_PIXELS = 1 << 26  # 8,192 x 8,192: decoding takes half a gigabyte
# By content, whatever a file is called: others start programs (EPS), or are no pictures.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
_PILLOW = r"PIL\."
# What Pillow raises on damaged content, besides OSErrors without a number.
_DAMAGED = (
    SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, OverflowError, AttributeError, RuntimeError,
    ArithmeticError, MemoryError, struct.error, zlib.error,
)  # fmt: skip


class PictureError(SapoolError, ValueError):
    """A picture that can't be used; the message says why in one line, but not which."""


def open_regular(path: Path) -> IO[bytes]:
    """Open a file to be read, once it is known to be a regular one: a pipe would wait for a writer for ever.

    Raises:
        PictureError: it is something else.
        OSError: it can't be opened.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise PictureError("not a regular file")
    return os.fdopen(handle, "rb")


def read_pixels(file: IO[bytes]) -> NDArray[np.uint8]:
    """Decode a picture: (H, W) uint8 if it is grey, else (H, W, 3).

    Rotation that a camera noted beside the pixels (EXIF) is not applied: neither do torchvision's data sets.

    Raises:
        PictureError: damaged, too large, of another format, or its pixels have no eight bits a channel.
        OSError: the file can't be read at all.
    """
    with _opened(file) as picture:
        return np.array(_in_eight_bits(picture))


def picture_size(file: IO[bytes], *, decode: bool = True) -> tuple[int, int]:
    """Return a picture's (width, height), once all of it is decoded or, without ``decode``, its header.

    Raises:
        PictureError: as :func:`read_pixels`.
        OSError: the file can't be read at all.
    """
    with _opened(file) as picture:
        if decode:
            picture.load()
        return picture.size


@contextmanager
def _opened(file: IO[bytes]) -> Iterator[Any]:
    image_module = require("PIL.Image", "train", "reading images")
    _silence_pillow()
    try:
        with image_module.open(file, formats=_FORMATS) as picture:
            width, height = picture.size
            if width * height > MOST_PIXELS:
                raise PictureError(f"{width:,} x {height:,} pixels, at most {MOST_PIXELS:,} are read")
            yield picture
    except PictureError:
        raise
    except (image_module.DecompressionBombError, *_DAMAGED) as error:
        raise PictureError(one_line(str(error)) or type(error).__name__) from None
    except OSError as error:
        if error.errno is not None:  # the machine's trouble, not the picture's
            raise
        unknown = isinstance(error, image_module.UnidentifiedImageError)
        raise PictureError("not an image" if unknown else one_line(str(error))) from None


def _silence_pillow() -> None:
    """Leave out Pillow's warnings: of large pictures, where ours is an error, and of odd tags in those that decode."""
    if not any(getattr(module, "pattern", None) == _PILLOW for *_, module, _ in warnings.filters):
        warnings.filterwarnings("ignore", module=_PILLOW)


def _in_eight_bits(picture: Any) -> Any:
    mode = picture.mode
    if mode.startswith("I"):  # 16 bits a pixel: Pillow would cut them off at 255
        pixels = np.asarray(picture)
        if pixels.min() < 0 or pixels.max() > 0xFFFF:
            raise PictureError("its pixels have 32 bits: 8 or 16 bits a channel expected")
        return (pixels >> 8).astype(np.uint8)
    if mode == "F":
        raise PictureError("its pixels are floats: 8 or 16 bits a channel expected")
    if mode == "P" and "transparency" in picture.info:
        picture = picture.convert("RGBA")
    return picture.convert("L" if mode in ("1", "L", "LA") else "RGB")
