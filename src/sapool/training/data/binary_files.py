"""Data sets in files of bare bytes: IDX (MNIST's format), CIFAR's and STL10's binary versions."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from sapool.training.data.cifar_pickles import find_cifar_pickles, read_cifar_pickles
from sapool.training.data.source_images import ArrayImages, DataError, Labels, drop_bad_labels
from sapool.training.data.splitting import Source, match_classes

Bytes = NDArray[np.uint8]

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_UNSIGNED_BYTES = 8
_MOST_IDX_BYTES = 1 << 30  # EMNIST's largest file has 547 million
_STL10_PIXELS = 3 * 96 * 96
_CIFAR_PIXELS = 3 * 32 * 32
_CIFAR_FOLDERS = {10: "cifar-10-batches-bin", 100: "cifar-100-binary"}
_CIFAR_NAMES = {10: "batches.meta.txt", 100: "fine_label_names.txt"}


def read_idx(path: Path) -> Bytes:
    """Read an IDX file of unsigned bytes (http://yann.lecun.com/exdb/mnist), gzip-compressed if it ends in ``.gz``.

    Raises:
        DataError: another kind of file, fewer or more bytes than its header says, or more than are read.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _read_idx(path, cast(IO[bytes], file))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip file: {error}") from None


def _read_idx(path: Path, file: IO[bytes]) -> Bytes:
    """Read no more than the header says, however much a compressed file would unpack to."""
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] != _UNSIGNED_BYTES or head[3] not in (1, 3):
        raise DataError(f"{path}: not an IDX file of unsigned bytes: it starts with {head.hex(' ') or 'nothing'}")
    shape = tuple(int(n) for n in np.frombuffer(file.read(4 * head[3]).ljust(4 * head[3], b"\0"), ">u4"))
    count, header = math.prod(shape), 4 + 4 * head[3]
    said = f"{header + count:,} bytes expected for {' x '.join(map(str, shape))}"
    if count > _MOST_IDX_BYTES:
        raise DataError(f"{path}: {said}, at most {_MOST_IDX_BYTES:,} are read")
    raw = file.read(count + 1)
    if len(raw) != count:
        raise DataError(f"{path}: {said}, found {'more' if len(raw) > count else f'{header + len(raw):,}'}")
    return np.frombuffer(raw, np.uint8).reshape(shape)


def find_idx(folder: Path) -> list[Path]:
    """Return where in ``folder`` the four IDX files lie: there (Debian), in ``raw/`` or ``*/raw/`` (torchvision)."""
    places = [folder, folder / "raw", *sorted(folder.glob("*/raw"))]
    return [place for place in places if _idx_file(place, "train-images-idx3-ubyte") is not None]


def _idx_file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def read_idx_folder(name: str, folder: Path, prefer: str = "MNIST", classes: Sequence[str] = ()) -> Source:
    """Read the four files of an MNIST-like data set.

    Args:
        name: what messages call it.
        folder: where it lies.
        prefer: which of several sub-folders of torchvision's layout is meant.
        classes: names of the labels 0, 1, ...; by default the labels themselves.

    Raises:
        DataError: files missing, damaged or at odds.
    """
    places = find_idx(folder)
    place = next((p for p in places if p.parent.name == prefer), None) or (places[0] if len(places) == 1 else None)
    if place is None:
        several = f"more than one data set: {', '.join(str(p) for p in places)}; name one" if places else (
            "no train-images-idx3-ubyte[.gz] here, in raw/ or in */raw/"
        )  # fmt: skip
        raise DataError(f"{folder}: {several}")
    pairs = {split: _read_idx_pair(place, stem) for split, stem in (("train", "train"), ("test", "t10k"))}
    found = {split: [str(label) for label in np.unique(labels)] for split, (_, labels) in pairs.items()}
    match_classes(name, found)
    values = np.unique(pairs["train"][1])
    if classes and values.tolist() != list(range(len(classes))):
        raise DataError(f"{place}: labels 0 to {len(classes) - 1} expected, found {', '.join(map(str, values))}")
    splits = {
        split: ArrayImages(images[:, None], np.searchsorted(values, labels).astype(np.int64), f"{place}: {split}")
        for split, (images, labels) in pairs.items()
    }
    return Source(name, tuple(classes) or tuple(map(str, values)), dict(splits))


def _read_idx_pair(folder: Path, stem: str) -> tuple[Bytes, Labels]:
    arrays = []
    for name, axes in ((f"{stem}-images-idx3-ubyte", 3), (f"{stem}-labels-idx1-ubyte", 1)):
        path = _idx_file(folder, name)
        if path is None:
            raise DataError(f"{folder}: {name} (or {name}.gz) is missing")
        arrays.append(read_idx(path))
        if arrays[-1].ndim != axes:
            raise DataError(f"{path}: {axes} axes expected, found {arrays[-1].ndim}")
    images, labels = arrays
    if len(images) != len(labels):
        raise DataError(f"{folder}: {len(images):,} images and {len(labels):,} labels of {stem}")
    return images, labels.astype(np.int64)


def read_cifar(folder: Path, classes: int, *, skip_bad: bool = False) -> Source:
    """Read CIFAR-10 or CIFAR-100 (Krizhevsky 2009): the binary version, else the Python version.

    A record of the binary version is a byte a label (CIFAR-100: coarse, then fine) and the three planes of 32 x 32.

    Raises:
        DataError: files missing, damaged, or labels out of range.
    """
    place = _find_binary_cifar(folder, classes)
    if place is None:
        return read_cifar_pickles(folder, classes, skip_bad=skip_bad)
    files = _cifar_files(place, classes)
    names = place / _CIFAR_NAMES[classes]
    labels = tuple(names.read_text().split()) if names.is_file() else tuple(str(i) for i in range(classes))
    if len(labels) != classes:
        raise DataError(f"{names}: {classes} names expected, found {len(labels)}")
    splits, skipped = {}, {}
    for split, paths in files.items():
        records = np.concatenate([_records(path, _CIFAR_PIXELS + (2 if classes == 100 else 1)) for path in paths])
        images = records[:, -_CIFAR_PIXELS:].reshape(-1, 3, 32, 32)
        fine = records[:, -_CIFAR_PIXELS - 1].astype(np.int64)
        whole = ArrayImages(images, fine, f"{place}: {split}")
        splits[split], skipped[split] = drop_bad_labels(whole, classes, skip_bad=skip_bad)
    return Source(f"cifar{classes}", labels, dict(splits), skipped)


def find_cifar(folder: Path, classes: int) -> bool:
    """Whether ``folder`` holds either version of CIFAR-10 or CIFAR-100."""
    return (_find_binary_cifar(folder, classes) or find_cifar_pickles(folder, classes)) is not None


def _find_binary_cifar(folder: Path, classes: int) -> Path | None:
    places = (folder / _CIFAR_FOLDERS[classes], folder)
    return next((place for place in places if _cifar_files(place, classes)["test"][0].is_file()), None)


def _cifar_files(folder: Path, classes: int) -> dict[str, list[Path]]:
    """Return what has to be there."""
    if classes == 10:
        return {"train": [folder / f"data_batch_{i}.bin" for i in range(1, 6)], "test": [folder / "test_batch.bin"]}
    return {"train": [folder / "train.bin"], "test": [folder / "test.bin"]}


def read_stl10(folder: Path, *, skip_bad: bool = False) -> Source:
    """Read STL10 (Coates, Ng, Lee 2011): 96 x 96 pixels, plane by plane, each column by column; labels from 1.

    Raises:
        DataError: files missing, damaged, or labels out of range.
    """
    place = folder / "stl10_binary" if (folder / "stl10_binary").is_dir() else folder
    names = place / "class_names.txt"
    classes = tuple(names.read_text().split()) if names.is_file() else tuple(str(label) for label in range(1, 11))
    splits, skipped = {}, {}
    for split in ("train", "test"):
        paths = [place / f"{split}_{part}.bin" for part in "Xy"]
        images, labels = _records(paths[0], _STL10_PIXELS), _records(paths[1], 1)[:, 0].astype(np.int64) - 1
        if len(images) != len(labels):
            raise DataError(f"{place}: {len(images):,} images and {len(labels):,} labels of {split}")
        upright = np.ascontiguousarray(images.reshape(-1, 3, 96, 96).transpose(0, 1, 3, 2))
        whole = ArrayImages(upright, labels, str(paths[1]))
        splits[split], skipped[split] = drop_bad_labels(whole, len(classes), first=1, skip_bad=skip_bad)
    return Source("stl10", classes, dict(splits), skipped)


def _records(path: Path, size: int) -> Bytes:
    """Return a file's records, (n, size)."""
    if not path.is_file():
        raise DataError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
    raw = np.fromfile(path, np.uint8)
    if not len(raw) or len(raw) % size:
        raise DataError(f"{path}: a whole number of records of {size:,} bytes expected, found {len(raw):,} bytes")
    return raw.reshape(-1, size)
