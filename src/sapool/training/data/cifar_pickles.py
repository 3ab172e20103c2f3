"""CIFAR's Python version: its pickles are read by a reader of our own, which knows numbers, texts and arrays only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sapool.base.quoting import one_line, quote
from sapool.training.data.plain_pickle import PickleError, load_plain
from sapool.training.data.source_images import ArrayImages, DataError, drop_bad_labels
from sapool.training.data.splitting import Source

_FOLDERS = {10: "cifar-10-batches-py", 100: "cifar-100-python"}
_FILES = {
    10: {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]},
    100: {"train": ["train"], "test": ["test"]},
}
_META = {10: ("batches.meta", "label_names"), 100: ("meta", "fine_label_names")}
_LABELS = {10: "labels", 100: "fine_labels"}
_MOST_BYTES = 512 << 20  # CIFAR-100's training file, the largest, has 155 MB


def find_cifar_pickles(folder: Path, classes: int) -> Path | None:
    """Return where the Python version lies: in ``folder`` or its usual sub-folder."""
    test = _FILES[classes]["test"][0]
    named = folder / _FOLDERS[classes]
    return next((p for p in (named, folder) if (p / test).is_file() and (p / _META[classes][0]).is_file()), None)


def read_cifar_pickles(folder: Path, classes: int, *, skip_bad: bool = False) -> Source:
    """Read the Python version of CIFAR-10 or CIFAR-100.

    Raises:
        DataError: files missing or damaged, a pickle that asks for more than arrays, or labels out of range.
    """
    place = find_cifar_pickles(folder, classes)
    if place is None:
        binary = {10: "cifar-10-batches-bin/test_batch.bin", 100: "cifar-100-binary/test.bin"}[classes]
        raise DataError(f"{folder}: CIFAR-{classes} not found: neither {binary} nor {_FOLDERS[classes]}/ is here")
    meta, key = _META[classes]
    names = _load(place / meta, key)[key]
    if not isinstance(names, list) or len(names) != classes or not all(isinstance(name, str) for name in names):
        raise DataError(f"{place / meta}: {classes} names expected, found {quote(names)}")
    splits, skipped = {}, {}
    for split, files in _FILES[classes].items():
        parts = [_read_batch(place / file, _LABELS[classes]) for file in files]
        images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        whole = ArrayImages(images, labels, f"{place}: {split}")
        splits[split], skipped[split] = drop_bad_labels(whole, classes, skip_bad=skip_bad)
    return Source(f"cifar{classes}", tuple(names), dict(splits), skipped)


def _read_batch(path: Path, key: str) -> tuple[np.ndarray, np.ndarray]:
    found = _load(path, "data", key)
    data, labels = found["data"], found[key]
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        said = data.shape if isinstance(data, np.ndarray) else quote(data)
        raise DataError(f"{path}: n x 3,072 bytes expected, found {said}")
    if isinstance(labels, list) and all(type(label) is int and 0 <= label < 1 << 31 for label in labels):
        labels = np.array(labels, np.int64)
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu" or labels.shape != data.shape[:1]:
        raise DataError(f"{path}: {len(data):,} labels expected, whole numbers, found {quote(labels)}")
    return data.reshape(-1, 3, 32, 32), labels.astype(np.int64)


def _load(path: Path, *keys: str) -> dict[str, Any]:
    """Return a pickled dictionary; one written by Python 2 has keys and names in bytes."""
    try:
        if not path.is_file():
            raise DataError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise DataError(f"{path}: not CIFAR's Python version: {size:,} bytes, the largest has 155 million")
        raw = load_plain(path.read_bytes())
    except PickleError as error:
        raise DataError(f"{path}: not CIFAR's Python version: {one_line(str(error))}") from None
    found = {_text(key): value for key, value in raw.items()} if isinstance(raw, dict) else {}
    for key in keys:
        if key not in found:
            raise DataError(f"{path}: not CIFAR's Python version: it has no {key!r}")
        if isinstance(found[key], list):
            found[key] = [_text(value) for value in found[key]]
    return found


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
