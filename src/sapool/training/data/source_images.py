"""Images as they lie on disk or in memory, before anything is done to them: what every reader returns."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sapool.base.errors import SapoolError
from sapool.training.data.pictures import PictureError, open_regular, read_pixels

Labels = NDArray[np.int64]
Indices = NDArray[np.int64]


class DataError(SapoolError, ValueError):
    """A data set that can't be used as it is; the message names the file or record, and what is wrong with it."""

    def __init__(self, said: str) -> None:
        # A loader's worker hands an error on as text with its whole trace: only what it said is kept.
        super().__init__(said.rpartition("DataError: ")[2].strip())


class SourceImages(ABC):
    """Images of any size with their classes, (n,)."""

    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def image(self, index: int) -> Tensor:
        """Return one image, uint8 (1 or 3, H, W).

        Raises:
            DataError: it is damaged.
        """

    @abstractmethod
    def where(self, index: int) -> str:
        """Say where one image lies."""

    @abstractmethod
    def take(self, indices: Indices) -> Self:
        """Return some of the images, in the given order."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a text that changes when the images on disk do; empty for what is wholly in memory."""


@dataclass(frozen=True, eq=False)
class ArrayImages(SourceImages):
    """Images of one size in memory: (n, 1 or 3, H, W) uint8."""

    images: NDArray[np.uint8]
    labels: Labels
    origin: str

    def image(self, index: int) -> Tensor:
        """Return one image, uint8 (C, H, W)."""
        return torch.from_numpy(self.images[index].copy())

    def batch(self, indices: Sequence[int]) -> Tensor:
        """Return several at once, uint8 (N, C, H, W)."""
        return torch.from_numpy(self.images[np.asarray(indices)])

    def where(self, index: int) -> str:
        """Say which record."""
        return f"{self.origin}: image {index}"

    def take(self, indices: Indices) -> Self:
        """Return a copy of some."""
        return type(self)(self.images[indices], self.labels[indices], self.origin)

    def fingerprint(self) -> str:
        """Return an empty text: reading has checked everything."""
        return ""


@dataclass(frozen=True, eq=False)
class FileImages(SourceImages):
    """Image files under one folder, their paths kept as one array (a list of a million texts is copied by workers)."""

    root: Path
    names: NDArray[np.bytes_]
    labels: Labels

    def path(self, index: int) -> Path:
        """Return one file's path."""
        return self.root / os.fsdecode(self.names[index])

    def image(self, index: int) -> Tensor:
        """Decode one file, uint8 (3, H, W) or (1, H, W) if it is grey."""
        path = self.path(index)
        try:
            file = open_regular(path)
        except PictureError as error:
            raise DataError(f"{path}: {error}") from None
        except OSError as error:
            if path.is_symlink() and error.errno in (errno.ENOENT, errno.ELOOP):
                raise DataError(f"{path}: a link to nothing") from None
            raise
        with file:
            return decode(file, str(path))

    def where(self, index: int) -> str:
        """Say which file."""
        return str(self.path(index))

    def take(self, indices: Indices) -> Self:
        """Return some of the files."""
        return type(self)(self.root, self.names[indices], self.labels[indices])

    def fingerprint(self) -> str:
        """Return a digest of paths, sizes and times of change."""
        found = hashlib.sha256(str(self.root.resolve()).encode())
        for index in range(len(self)):
            state = _state(self.path(index))
            found.update(self.names[index] + f"\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
        return found.hexdigest()


def _state(path: Path) -> os.stat_result:
    """Return a file's size and times, or those of a link to nothing."""
    try:
        return path.stat()
    except OSError:  # of a loop of links, another
        return path.lstat()


@dataclass(frozen=True, eq=False)
class ShardImages(SourceImages):
    """Members of tar files, read by offset: any order costs the same, and any number of workers reads at once."""

    shards: tuple[Path, ...]
    shard: NDArray[np.int32]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    labels: Labels
    keys: NDArray[np.bytes_]

    def image(self, index: int) -> Tensor:
        """Decode one member."""
        # Opened anew each time: a file that forked workers share would also share its position.
        with self.shards[self.shard[index]].open("rb") as file:
            file.seek(self.offsets[index])
            data = file.read(self.sizes[index])
        return decode(io.BytesIO(data), self.where(index))

    def where(self, index: int) -> str:
        """Say which shard and sample."""
        return f"{self.shards[self.shard[index]]}: {os.fsdecode(self.keys[index])}"

    def take(self, indices: Indices) -> Self:
        """Return some of the members."""
        return replace(
            self,
            shard=self.shard[indices],
            offsets=self.offsets[indices],
            sizes=self.sizes[indices],
            labels=self.labels[indices],
            keys=self.keys[indices],
        )

    def fingerprint(self) -> str:
        """Return a digest of the shards and of which members are meant."""
        found = hashlib.sha256(shards_state(self.shards).encode())
        for values in (self.shard, self.offsets):
            found.update(values.tobytes())
        return found.hexdigest()


def drop_bad_labels(
    images: ArrayImages, classes: int, *, first: int = 0, skip_bad: bool = False
) -> tuple[ArrayImages, int]:
    """Leave out, or refuse, the records whose label is none; return what stays and how many went.

    Raises:
        DataError: such a label, and ``skip_bad`` is not set.
    """
    bad = np.flatnonzero((images.labels < 0) | (images.labels >= classes))
    if not len(bad):
        return images, 0
    if not skip_bad:
        raise DataError(
            f"{images.origin}: record {bad[0]} has label {images.labels[bad[0]] + first}, "
            f"labels are {first} to {classes - 1 + first}"
        )
    return images.take(np.delete(np.arange(len(images)), bad)), len(bad)


def shards_state(shards: Sequence[Path]) -> str:
    """Return paths, sizes and times of change of ``shards`` as a text."""
    states = [(path.resolve(), path.stat()) for path in shards]
    return "\n".join(f"{path}\0{state.st_size}\0{state.st_mtime_ns}" for path, state in states)


def decode(file: IO[bytes], where: str) -> Tensor:
    """Decode a JPEG, PNG, WebP, ... with Pillow, as uint8 (3, H, W), or (1, H, W) if it is grey.

    Rotation that a camera noted beside the pixels (EXIF) is not applied: neither do torchvision's data sets.

    Raises:
        DataError: it is damaged or no image.
        OSError: the file can't be read at all.
    """
    try:
        pixels = read_pixels(file)
    except PictureError as error:
        raise DataError(f"{where}: damaged image: {error}") from None
    # A view: resizing is faster where the channels of a pixel lie side by side.
    return torch.from_numpy(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
