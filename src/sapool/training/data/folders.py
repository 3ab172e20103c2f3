"""Folders of class folders, and tar shards in WebDataset's format."""

from __future__ import annotations

import errno
import os
import re
import tarfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sapool.base.quoting import one_line, quote
from sapool.training.data.finding import IMAGE_ENDINGS, ImageFinder, sub_folders
from sapool.training.data.source_images import DataError, FileImages, ShardImages, SourceImages
from sapool.training.data.splitting import SPLITS, Source, match_classes

_MOST_IMAGE_BYTES, _MOST_KEY = 256 << 20, 1000  # of one file in a shard, and of its name
_SHARD_IMAGES = ("jpg", "jpeg", "png", "webp")
_OTHER_NAMES = {"valid": "val", "validation": "val", "training": "train", "testing": "test"}


def _split_of(name: str) -> str:
    return _OTHER_NAMES.get(name.lower(), name.lower())


def split_folders(folder: Path) -> dict[str, Path]:
    """Return the sub-folders that are splits: train with val, test or both, each with class folders.

    A class that is called "train" beside others is none.
    """
    found = {}
    for path in sub_folders(folder):
        name = _split_of(path.name)
        if name in SPLITS and sub_folders(path):
            found[name] = path
    return found if "train" in found and len(found) > 1 else {}


def read_folder(folder: Path, name: str = "folder") -> Source:
    """Read class folders, or train/val/test of class folders; images may lie deeper inside a class folder.

    Raises:
        DataError: no images, or classes that differ between splits.
    """
    splits = split_folders(folder)
    if not splits:
        _refuse_flat_split(folder)
    if name == "imagenet" and not {"train", "val"} <= set(splits):
        raise DataError(f"{folder}: train/ and val/ of class folders expected, found {_listed(folder)}")
    places = splits or {"all": folder}
    found = {split: [path.name for path in sub_folders(place)] for split, place in places.items()}
    classes = match_classes(str(folder), found)
    if len(classes) < 2:
        raise DataError(f"{folder}: at least two class folders expected, found {_listed(folder)}")
    images = _list_images(folder, places, classes)
    return Source(f"{name}:{folder}", tuple(classes), dict(images))


def _refuse_flat_split(folder: Path) -> None:
    """Refuse ``train/CLASS/`` beside a val or test without classes, which would pass for two classes."""
    inside = {_split_of(path.name): path for path in sub_folders(folder)}
    if "train" not in inside or not sub_folders(inside["train"]):
        return
    for split in ("val", "test"):
        if split in inside:
            raise DataError(
                f"{inside[split]}: no class folders, as {inside['train']} has: sort its images into "
                f"{inside[split].name}/CLASS/, or name {inside['train']} alone"
            )


def _listed(folder: Path) -> str:
    names = [path.name for path in sub_folders(folder)]
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "no folders"


def _list_images(root: Path, places: dict[str, Path], classes: list[str]) -> dict[str, SourceImages]:
    """List the images of every split and class: each real file once, so that none stands in two splits."""
    starts = {(split, name): place / name for split, place in places.items() for name in classes}
    finder = ImageFinder([root, *root.resolve().parents, *places.values(), *starts.values()])
    found = {key: finder.find(start) for key, start in starts.items()}
    for key, start in starts.items():
        found[key] += finder.follow(start)
        if not found[key]:
            raise DataError(
                f"{start}: no image of class {key[1]!r} ({' '.join(IMAGE_ENDINGS)}) that is no other folder's already"
            )
    return {split: _file_images(place, [found[split, name] for name in classes]) for split, place in places.items()}


def _file_images(folder: Path, found: list[list[str]]) -> SourceImages:
    """Return the files of all classes of a split, sorted by path in each."""
    names: list[bytes] = []
    labels: list[int] = []
    for label, paths in enumerate(found):
        names += sorted(os.fsencode(os.path.relpath(path, folder)) for path in paths)
        labels += [label] * len(paths)
    return FileImages(folder, np.array(names, np.bytes_), np.array(labels, np.int64))


class _Member(NamedTuple):
    shard: int
    offset: int
    size: int
    key: bytes
    label: str


def find_shards(folder: Path) -> dict[str, list[Path]]:
    """Return the tar files by split, which their folder or a word of their name says; else as ``all``."""
    found: dict[str, list[Path]] = {}
    for path in sorted(path for path in {*folder.glob("*.tar"), *folder.glob("*/*.tar")} if path.is_file()):
        said = [path.parent.name] if path.parent != folder else re.split(r"[^A-Za-z]+", path.stem)
        splits = {_split_of(word) for word in said} & set(SPLITS)
        found.setdefault(splits.pop() if len(splits) == 1 else "all", []).append(path)
    return found


def read_shards(folder: Path, *, skip_bad: bool = False) -> Source:
    """Index the tar shards of ``folder``: a sample is an image and a ``.cls``, a number or a class's name.

    Members are found by seeking from header to header; compressed shards have no offsets and are refused.

    Raises:
        DataError: no or damaged shards, samples without image or class, or classes that differ between splits.
    """
    shards = find_shards(folder)
    if not shards:
        raise DataError(f"{folder}: no *.tar here or one folder down (compressed shards: unpack the .gz first)")
    if "all" in shards and len(shards) > 1:
        raise DataError(f"{shards['all'][0]}: neither train, val nor test, beside shards that are")
    if "all" not in shards and ("train" not in shards or len(shards) < 2):
        raise DataError(f"{folder}: train with val or test shards expected, found only {', '.join(shards)}")
    indexed, skipped = {}, {}
    for split, paths in shards.items():
        indexed[split], skipped[split] = _index_split(paths, skip_bad=skip_bad)
    found = {split: sorted({member.label for member in members}) for split, members in indexed.items()}
    classes = sorted(match_classes(str(folder), found), key=_by_number)
    if len(classes) < 2:
        raise DataError(f"{folder}: at least two classes expected, found {', '.join(classes) or 'no sample'}")
    order = {name: label for label, name in enumerate(classes)}
    images = {split: _shard_images(shards[split], members, order) for split, members in indexed.items()}
    return Source(f"webdataset:{folder}", tuple(classes), dict(images), skipped)


def _by_number(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdecimal() else (1 << 62, name)


def _shard_images(shards: list[Path], members: list[_Member], order: dict[str, int]) -> SourceImages:
    return ShardImages(
        tuple(shards),
        np.array([m.shard for m in members], np.int32),
        np.array([m.offset for m in members], np.int64),
        np.array([m.size for m in members], np.int64),
        np.array([order[m.label] for m in members], np.int64),
        np.array([m.key for m in members], np.bytes_),
    )


def _index_split(paths: list[Path], *, skip_bad: bool) -> tuple[list[_Member], int]:
    members: list[_Member] = []
    skipped = 0
    for number, path in enumerate(paths):
        try:
            with tarfile.open(path, "r:") as tar:
                found, bad = _index_shard(tar, number)
                _check_end(path, tar)
        except (tarfile.TarError, RecursionError, EOFError, ArithmeticError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # EINVAL: seeking before 0
                raise
            said = one_line(str(error))
            raise DataError(f"{path}: not an uncompressed tar file, or a damaged one: {said}") from None
        if bad and not skip_bad:
            raise DataError(f"{path}: {bad[0]}")
        members += found
        skipped += len(bad)
    return members, skipped


def _check_end(path: Path, tar: tarfile.TarFile) -> None:
    """Refuse a shard that was cut off inside its last member, which seeking over it would not notice."""
    end = max((member.offset_data + member.size for member in tar.getmembers()), default=0)
    if (size := path.stat().st_size) < end:
        raise DataError(f"{path}: cut off: its last member ends at byte {end:,}, the file at {size:,}")


def _index_shard(tar: tarfile.TarFile, number: int) -> tuple[list[_Member], list[str]]:
    """Return the samples of one shard, and what is wrong with the others."""
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    end = -1
    for member in tar:
        if member.size < 0 or member.offset <= end:  # a size under 0 leads back: there would be no end
            raise tarfile.ReadError("a member that lies before the one in front of it")
        end = member.offset
        folder, _, base = member.name.rpartition("/")
        stem, _, ending = base.partition(".")
        if member.isreg() and stem and ending:
            samples.setdefault(f"{folder}/{stem}".lstrip("./"), {})[ending.lower()] = member
    found, bad = [], []
    for key, parts in samples.items():
        image = next((parts[ending] for ending in _SHARD_IMAGES if ending in parts), None)
        label = _label(tar, parts["cls"]) if "cls" in parts else ""
        if image is None:
            bad.append(
                f"sample {quote(key)} has no image ({', '.join(_SHARD_IMAGES)}), only {one_line(', '.join(parts), 100)}"
            )
        elif image.size > _MOST_IMAGE_BYTES or len(key) > _MOST_KEY:
            bad.append(f"sample {quote(key)} has a name or an image that is too long: {image.size:,} bytes")
        elif not label:
            bad.append(f"sample {quote(key)} has no class (a .cls with a number or a name)")
        else:
            found.append(_Member(number, image.offset_data, image.size, os.fsencode(key), label))
    return found, bad


def _label(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = tar.extractfile(member)
    text = file.read(1000).decode(errors="replace").strip() if file else ""
    return str(int(text)) if text.isdecimal() else text
