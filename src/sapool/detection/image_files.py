"""Image files to tensors and back, by the decoder that also checks them."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from sapool.training.data.augmentation import to_channels
from sapool.training.data.pictures import PictureError, open_regular, picture_size, read_pixels


def image_size(path: Path, decode: bool = True) -> tuple[int, int]:
    """Return an image's (width, height), once all of it is decoded or, without ``decode``, its header.

    Raises:
        OSError: it can't be read.
        PictureError: it is no image, or a part of one.
    """
    with open_regular(path) as file:
        return picture_size(file, decode=decode)


def read_image(path: str | Path) -> Tensor:
    """Read an image of any mode as (3, H, W) float32 in [0, 1].

    Raises:
        ValueError: no such file, or it does not decode.
    """
    try:
        with open_regular(Path(path)) as file:
            pixels = torch.from_numpy(read_pixels(file))
    except (OSError, PictureError) as error:
        raise ValueError(f"{path} does not decode: {error}") from None
    planes = to_channels(pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1), 3)
    return planes.contiguous().to(torch.float32) / 255


def as_bytes(image: Tensor) -> Tensor:
    """Return (3, H, W) float in [0, 1] as uint8."""
    return (image.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8)


def encode_png(pixels: Tensor) -> bytes:
    """Return (3, H, W) uint8 as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file, "PNG")
    return file.getvalue()
