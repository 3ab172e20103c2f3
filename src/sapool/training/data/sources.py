"""Data sets by name, or by what lies in a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sapool.base.suggest import suggest
from sapool.training.data.binary_files import (
    DEBIAN_FASHION,
    FASHION_CLASSES,
    find_cifar,
    find_idx,
    read_cifar,
    read_idx_folder,
    read_stl10,
)
from sapool.training.data.folders import find_shards, read_folder, read_shards, split_folders
from sapool.training.data.scattered import digit_images, large_digits
from sapool.training.data.source_images import DataError
from sapool.training.data.splitting import SPLITS, Source

Reader = Callable[[Path | None, bool], Source]
_TORCHVISION_FASHION = Path("data/FashionMNIST/raw")


@dataclass(frozen=True)
class DataSet:
    """One name of :func:`load_data`.

    Attributes:
        what: what it is.
        layout: what it expects on disk.
        looked_for: where, when no folder is named.
        read: reads a folder (None: the usual place), leaving damaged records out if told so.
        recognise: whether a folder looks like it; None: it can't be told from another.
    """

    what: str
    layout: str
    looked_for: str
    read: Reader
    recognise: Callable[[Path], bool] | None = None


def _digits(folder: Path | None, skip_bad: bool) -> Source:
    if folder is not None:
        raise ValueError(f"digits come with scikit-learn: no folder is read, got {folder}")
    return Source("digits", tuple("0123456789"), {split: digit_images(split) for split in SPLITS})


def _digits_to_scatter(folder: Path | None, skip_bad: bool) -> Source:
    _digits(folder, skip_bad)  # says what is wrong with a folder
    return Source("scattered-digits", tuple("0123456789"), {split: large_digits(split) for split in SPLITS})


def _fashion(folder: Path | None, skip_bad: bool) -> Source:
    if folder is None:
        places = (DEBIAN_FASHION, _TORCHVISION_FASHION)
        folder = next((place for place in places if find_idx(place)), None)
    if folder is None:
        raise DataError(
            f"fashion-mnist: found neither in {DEBIAN_FASHION} (Debian: apt install dataset-fashion-mnist) nor in "
            f"{_TORCHVISION_FASHION}; name its folder, fashion-mnist:DIR"
        )
    return read_idx_folder("fashion-mnist", folder, "FashionMNIST", FASHION_CLASSES)


def _in_folder(name: str, read: Callable[[Path, bool], Source]) -> Reader:
    def reader(folder: Path | None, skip_bad: bool) -> Source:
        if folder is None:
            raise ValueError(f"{name} needs a folder: write {name}:DIR (sapool data list shows what is expected there)")
        return read(folder, skip_bad)

    return reader


def _has_train_and_val(folder: Path) -> bool:
    return {"train", "val"} <= set(split_folders(folder))


def _has_class_folders(folder: Path) -> bool:
    return sum(path.is_dir() and not path.name.startswith(".") for path in folder.iterdir()) >= 2


_NAMED = "only in the folder that you name"
_FASHION_LAYOUT = "train-images-idx3-ubyte[.gz] and its three fellows, there, in raw/ or FashionMNIST/raw/"
_FASHION_PLACES = f"{DEBIAN_FASHION}, then {_TORCHVISION_FASHION}"
# In the order in which a folder is held against them.
FORMATS: dict[str, DataSet] = {
    "scattered-digits": DataSet(
        "digits on a cluttered canvas", "nothing", "comes with scikit-learn", _digits_to_scatter
    ),
    "digits": DataSet("8 x 8 handwritten digits", "nothing", "comes with scikit-learn", _digits),
    "fashion-mnist": DataSet("28 x 28 clothes", _FASHION_LAYOUT, _FASHION_PLACES, _fashion),
    "scattered-fashion-mnist": DataSet("clothes on a cluttered canvas", "as fashion-mnist", _FASHION_PLACES, _fashion),
    "idx": DataSet(
        "MNIST and all in its format",
        "train-images-idx3-ubyte[.gz] and its three fellows, there, in raw/ or NAME/raw/",
        _NAMED,
        _in_folder("idx", lambda folder, skip_bad: read_idx_folder(f"idx:{folder}", folder)),
        lambda folder: bool(find_idx(folder)),
    ),
    "cifar10": DataSet(
        "CIFAR-10",
        "cifar-10-batches-bin/*.bin (binary version) or cifar-10-batches-py/ (Python version)",
        _NAMED,
        _in_folder("cifar10", lambda folder, skip_bad: read_cifar(folder, 10, skip_bad=skip_bad)),
        lambda folder: find_cifar(folder, 10),
    ),
    "cifar100": DataSet(
        "CIFAR-100",
        "cifar-100-binary/*.bin (binary version) or cifar-100-python/ (Python version)",
        _NAMED,
        _in_folder("cifar100", lambda folder, skip_bad: read_cifar(folder, 100, skip_bad=skip_bad)),
        lambda folder: find_cifar(folder, 100),
    ),
    "stl10": DataSet(
        "STL10",
        "stl10_binary/{train,test}_{X,y}.bin",
        _NAMED,
        _in_folder("stl10", lambda folder, skip_bad: read_stl10(folder, skip_bad=skip_bad)),
        lambda folder: any((place / "train_X.bin").is_file() for place in (folder, folder / "stl10_binary")),
    ),
    "webdataset": DataSet(
        "tar shards of images with .cls",
        "*.tar with train, val or test as a word of the name, or train/*.tar ...; or any *.tar without a split",
        _NAMED,
        _in_folder("webdataset", lambda folder, skip_bad: read_shards(folder, skip_bad=skip_bad)),
        lambda folder: bool(find_shards(folder)),
    ),
    "imagenet": DataSet(
        "ImageNet",
        "train/CLASS/*.JPEG and val/CLASS/*.JPEG",
        _NAMED,
        _in_folder("imagenet", lambda folder, skip_bad: read_folder(folder, "imagenet")),
        _has_train_and_val,
    ),
    "folder": DataSet(
        "any folder of class folders",
        "CLASS/*.jpg ..., or train/, val/ and test/ of them",
        _NAMED,
        _in_folder("folder", lambda folder, skip_bad: read_folder(folder)),
        _has_class_folders,
    ),
}
DATA_SETS = tuple(FORMATS)


def find_data_set(source: str) -> tuple[str, Path | None]:
    """Return the name and folder that ``NAME``, ``NAME:DIR`` or ``DIR`` stands for.

    Raises:
        ValueError: an unknown name (with the nearest), no such folder, or a folder in which nothing is recognised.
    """
    if not source.strip():
        raise ValueError(
            f"data {source!r} names nothing: name a data set ({', '.join(DATA_SETS[:3])}, ...) or a folder"
        )
    if source in FORMATS:
        return source, None
    name, colon, rest = source.partition(":")
    if colon and name in FORMATS:
        return name, _existing(rest, source)
    if Path(source).is_dir():
        return _recognised(Path(source)), Path(source)
    if "/" in source and not (colon and "/" not in name):
        raise ValueError(f"data {source!r}: no such folder")
    raise ValueError(f"unknown data set {name!r}: {suggest(name, DATA_SETS)}")


def _existing(text: str, source: str) -> Path:
    if not text or not Path(text).is_dir():
        raise ValueError(f"data {source!r}: no such folder: {text or 'none is named'}")
    return Path(text)


def _recognised(folder: Path) -> str:
    if any((folder / "annotations").glob("instances_*.json")):
        raise DataError(f"{folder}: boxes in COCO's format, no classes: sapool detect train --data {folder} reads them")
    formats = {name: data_set for name, data_set in FORMATS.items() if data_set.recognise is not None}
    for name, data_set in formats.items():
        if data_set.recognise is not None and data_set.recognise(folder):
            return name
    looked = "; ".join(f"{name}: {data_set.layout}" for name, data_set in formats.items())
    raise DataError(f"{folder}: no data set recognised; looked for {looked}")


def read_source(source: str, *, skip_bad: bool = False) -> tuple[str, Source]:
    """Return the name of the data set and what its reader found.

    Raises:
        ValueError: unknown, missing or damaged.
    """
    name, folder = find_data_set(source)
    return name, FORMATS[name].read(folder, skip_bad)
