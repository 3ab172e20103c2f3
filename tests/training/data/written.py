"""Small data sets, written byte by byte from their formats' specifications: pixels are what a test compares with."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Bytes = NDArray[np.uint8]


def pixels(*shape: int, seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_idx(path: Path, array: Bytes) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    raw = header + bytes(int(v) for v in array.reshape(-1))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def write_mnist(folder: Path, ending: str = "", train: int = 40, test: int = 8) -> dict[str, Bytes]:
    """Write the four files, labels 0, 1, 2, 3, 0, ...; return the images."""
    made = {"train": pixels(train, 5, 7), "test": pixels(test, 5, 7, seed=1)}
    for split, stem in (("train", "train"), ("test", "t10k")):
        write_idx(folder / f"{stem}-images-idx3-ubyte{ending}", made[split])
        write_idx(folder / f"{stem}-labels-idx1-ubyte{ending}", (np.arange(len(made[split])) % 4).astype(np.uint8))
    return made


def write_cifar10(folder: Path, a_file: int = 20) -> dict[str, Bytes]:
    """Write the binary version: a label, then the red, green and blue plane, row by row; return (n, 3, 32, 32)."""
    folder.mkdir(parents=True)
    made = {"train": pixels(5 * a_file, 3, 32, 32), "test": pixels(a_file, 3, 32, 32, seed=1)}
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    for i, name in enumerate(names):
        images = made["train"][i * a_file : (i + 1) * a_file] if i < 5 else made["test"]
        raw = b"".join(bytes([k % 10]) + image.tobytes() for k, image in enumerate(images))
        (folder / name).write_bytes(raw)
    (folder / "batches.meta.txt").write_text("\n".join(f"thing{i}" for i in range(10)) + "\n\n")
    return made


def write_stl10(folder: Path) -> dict[str, Bytes]:
    """Write images (n, 3, 96, 96) plane by plane, column by column, and labels from 1; return the images."""
    folder.mkdir(parents=True)
    made = {"train": pixels(20, 3, 96, 96), "test": pixels(10, 3, 96, 96, seed=1)}
    for split, images in made.items():
        raw = bytearray()
        for image in images:
            for plane in image:
                for column in range(96):
                    raw += plane[:, column].tobytes()
        (folder / f"{split}_X.bin").write_bytes(bytes(raw))
        (folder / f"{split}_y.bin").write_bytes(bytes(1 + i % 10 for i in range(len(images))))
    return made


def png(image: Bytes) -> bytes:
    """Return (H, W, 3) or (H, W) as a PNG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def write_classes(folder: Path, counts: dict[str, int], seed: int = 0) -> dict[str, Bytes]:
    """Write class folders of PNGs of 12 x 10 pixels; return the pixels by relative path."""
    made = {}
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            image = pixels(12, 10, 3, seed=seed)
            seed += 1
            (folder / name / f"{i:03}.png").write_bytes(png(image))
            made[f"{name}/{i:03}.png"] = image
    return made


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
