"""Finding image files below folders: each real file once, whatever links lead to it, and regular ones only."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")


def sub_folders(folder: Path) -> list[Path]:
    """Return the folders in ``folder`` by name, without hidden ones and links to itself or to what it lies in."""
    above = {identity(path) for path in (folder, *folder.resolve().parents)}
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir())
    return [path for path in inside if not path.is_symlink() or identity(path) not in above]


def identity(path: Path) -> tuple[int, int]:
    """Return what is the same for all names of one file or folder."""
    state = path.stat()
    return state.st_dev, state.st_ino


class ImageFinder:
    """Finds image files; what was found once, in whatever folder, is not found again.

    First :meth:`find` is called for all folders, which follows no links, then :meth:`follow`: so a real file belongs
    to the folder it lies in, and not to one that has a link to it.

    Args:
        barred: folders that no link leads into: those that will be looked through anyway, and all above them.
    """

    def __init__(self, barred: Iterable[Path]) -> None:
        self._folders = {identity(path) for path in barred}
        self._files: dict[int, set[int]] = {}
        self._links: dict[Path, list[str]] = {}

    def find(self, start: Path) -> list[str]:
        """Return the image files below ``start`` that are there without a link, and remember the links."""
        found: list[str] = []
        waiting, links = [str(start)], self._links.setdefault(start, [])
        while waiting:
            here = waiting.pop()
            device = Path(here).stat().st_dev
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.is_symlink():
                        links.append(entry.path)
                    elif entry.is_dir():
                        if self._enter(entry.stat(follow_symlinks=False)):
                            waiting.append(entry.path)
                    elif _is_image(entry.name) and entry.is_file() and self._take(device, entry.inode()):
                        found.append(entry.path)
        return found

    def follow(self, start: Path) -> list[str]:
        """Return the image files that only links below ``start`` lead to; a link to nothing stays, to be reported."""
        found: list[str] = []
        links = self._links.pop(start, [])
        while links:
            link = links.pop()
            try:
                state = Path(link).stat()
            except OSError:
                if _is_image(Path(link).name):
                    found.append(link)
                continue
            if stat.S_ISDIR(state.st_mode) and self._enter(state):
                found += self.find(Path(link))
                links += self._links.pop(Path(link))
            elif stat.S_ISREG(state.st_mode) and _is_image(Path(link).name):
                found += [link] if self._take(state.st_dev, state.st_ino) else []
        return found

    def _enter(self, state: os.stat_result) -> bool:
        """Whether a folder is new."""
        known = (state.st_dev, state.st_ino) in self._folders
        self._folders.add((state.st_dev, state.st_ino))
        return not known

    def _take(self, device: int, inode: int) -> bool:
        """Whether a file is new."""
        files = self._files.setdefault(device, set())
        count = len(files)
        files.add(inode)
        return len(files) > count


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_ENDINGS) and not name.startswith(".")
