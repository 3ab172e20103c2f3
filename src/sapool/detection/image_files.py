"""Image files to tensors and back, by the decoder that also checks them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

# What Pillow raises for files that are no images, or only parts of some.
UNREADABLE = (OSError, ValueError, SyntaxError)


def image_size(path: Path, decode: bool = True) -> tuple[int, int]:
    """Return an image's (width, height), once all of it is decoded or, without ``decode``, its header.

    Raises:
        OSError, ValueError, SyntaxError: it is no image, or a part of one.
    """
    with Image.open(path) as opened:
        if decode:
            opened.load()
        return opened.size


def read_image(path: str | Path) -> Tensor:
    """Read an image of any mode as (3, H, W) float32 in [0, 1].

    Raises:
        ValueError: no such file, or it does not decode.
    """
    try:
        with Image.open(path) as opened:
            pixels = np.array(opened.convert("RGB"))
    except UNREADABLE as error:
        raise ValueError(f"{path} does not decode: {error}") from None
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().to(torch.float32) / 255


def as_bytes(image: Tensor) -> Tensor:
    """Return (3, H, W) float in [0, 1] as uint8."""
    return (image.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)


def encode_png(pixels: Tensor) -> bytes:
    """Return (3, H, W) uint8 as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file, "PNG")
    return file.getvalue()
