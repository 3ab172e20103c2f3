"""CIFAR's Python version: its pickles are read by an unpickler that can build numbers, texts and arrays only."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from sapool.training.data.source_images import ArrayImages, DataError, drop_bad_labels
from sapool.training.data.splitting import Source

_FOLDERS = {10: "cifar-10-batches-py", 100: "cifar-100-python"}
_FILES = {
    10: {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]},
    100: {"train": ["train"], "test": ["test"]},
}
_META = {10: ("batches.meta", "label_names"), 100: ("meta", "fine_label_names")}
_LABELS = {10: "labels", 100: "fine_labels"}
# All that a pickled array of numbers needs; nothing here runs what the file says.
_ALLOWED = {
    ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"),
    ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
}  # fmt: skip


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no array of numbers")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


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
    names = tuple(str(name) for name in _load(place / meta, key)[key])
    if len(names) != classes:
        raise DataError(f"{place / meta}: {classes} names expected, found {len(names)}")
    splits, skipped = {}, {}
    for split, files in _FILES[classes].items():
        parts = [_read_batch(place / file, _LABELS[classes]) for file in files]
        images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        whole = ArrayImages(images, labels, f"{place}: {split}")
        splits[split], skipped[split] = drop_bad_labels(whole, classes, skip_bad=skip_bad)
    return Source(f"cifar{classes}", names, dict(splits), skipped)


def _read_batch(path: Path, key: str) -> tuple[np.ndarray, np.ndarray]:
    found = _load(path, "data", key)
    data, labels = np.asarray(found["data"]), np.asarray(found[key])
    if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072 or labels.shape != data.shape[:1]:
        raise DataError(f"{path}: n x 3,072 bytes and n labels expected, found {data.shape} and {labels.shape}")
    return data.reshape(-1, 3, 32, 32), labels.astype(np.int64)


def _load(path: Path, *keys: str) -> dict[str, Any]:
    """Return a pickled dictionary; one written by Python 2 has keys and names in bytes."""
    try:
        with path.open("rb") as file:
            raw = _ArraysOnly(file, encoding="bytes").load()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError:
        raise
    except Exception as error:  # what damaged bytes raise depends on the bytes
        raise DataError(f"{path}: not CIFAR's Python version: {str(error) or type(error).__name__}") from None
    found = {_text(key): value for key, value in raw.items()} if isinstance(raw, dict) else {}
    for key in keys:
        if key not in found:
            raise DataError(f"{path}: not CIFAR's Python version: it has no {key!r}")
        if isinstance(found[key], list):
            found[key] = [_text(value) for value in found[key]]
    return found


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
