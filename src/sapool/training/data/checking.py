"""Reading every image once: what ``data check`` shows, and the list of damaged ones that ``skip_bad`` leaves out.

The list is kept under a cache folder (``SAPOOL_CACHE``, else ``XDG_CACHE_HOME``/sapool, else ~/.cache/sapool), under a
name made from the paths, sizes and times of change of the files: a data set is read through once, and again only after
it has changed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sapool.base.files import write_text_atomically
from sapool.training.data.source_images import DataError, SourceImages

_IMAGES_A_TASK = 64


@dataclass(frozen=True)
class Survey:
    """What reading all images of a split found.

    Attributes:
        sizes: how many images have which (channels, rows, columns).
        bad: damaged images: index and what is wrong, with the file's name.
        digests: a digest of every good image's pixels.
    """

    sizes: Counter[tuple[int, ...]]
    bad: dict[int, str]
    digests: frozenset[bytes]


def survey(images: SourceImages, tick: Callable[[int], None] | None = None) -> Survey:
    """Read every image, in threads (decoding releases the interpreter's lock), and remember which are damaged.

    Args:
        images: what to read.
        tick: is told how many more have been read.
    """
    parts = [range(i, min(i + _IMAGES_A_TASK, len(images))) for i in range(0, len(images), _IMAGES_A_TASK)]
    sizes: Counter[tuple[int, ...]] = Counter()
    bad: dict[int, str] = {}
    digests: set[bytes] = set()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for part, found in zip(parts, threads.map(lambda part: _read(images, part), parts), strict=True):
            sizes.update(found.sizes)
            bad.update(found.bad)
            digests |= found.digests
            if tick is not None:
                tick(len(part))
    return Survey(sizes, bad, frozenset(digests))


def _read(images: SourceImages, part: range) -> Survey:
    sizes: Counter[tuple[int, ...]] = Counter()
    bad: dict[int, str] = {}
    digests: set[bytes] = set()
    for index in part:
        try:
            image = images.image(index)
        except DataError as error:
            bad[index] = str(error)
            continue
        sizes[tuple(image.shape)] += 1
        digests.add(hashlib.blake2b(image.numpy().tobytes("C"), digest_size=12).digest())
    return Survey(sizes, bad, frozenset(digests))


def drop_bad(images: SourceImages) -> tuple[SourceImages, int]:
    """Leave damaged images out; they are looked for only where no list of them is kept yet.

    Returns:
        The good ones, and how many were left out.
    """
    fingerprint = images.fingerprint()
    if not fingerprint:
        return images, 0
    bad = _known_bad(fingerprint, len(images))
    if bad is None:
        found = survey(images).bad
        _remember(fingerprint, len(images), found)
        bad = sorted(found)
    return (images.take(np.delete(np.arange(len(images)), bad)), len(bad)) if bad else (images, 0)


def cache_folder() -> Path:
    """Return where lists of damaged images are kept."""
    named = os.environ.get("SAPOOL_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sapool"


def _path(fingerprint: str) -> Path:
    return cache_folder() / "bad_images" / f"{fingerprint[:32]}.json"


def _known_bad(fingerprint: str, images: int) -> list[int] | None:
    try:
        known = json.loads(_path(fingerprint).read_text())
        return sorted(int(index) for index in known["bad"]) if known["images"] == images else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # none yet, or none that can be used: it is made again


def _remember(fingerprint: str, images: int, bad: dict[int, str]) -> None:
    said = {"images": images, "bad": {str(index): reason for index, reason in sorted(bad.items())}}
    write_text_atomically(_path(fingerprint), json.dumps(said, indent=1))
