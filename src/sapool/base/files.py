"""Writing files: each whole or not at all, and only where nothing or a regular file is."""

from __future__ import annotations

import os
import re
import stat
import time
from pathlib import Path

from sapool.base.errors import SapoolError
from sapool.base.quoting import quote

# Of a name: the file system takes 255 bytes, and a file is written under a longer name first.
MOST_NAME_BYTES = 200
MOST_PATH_BYTES = 3000
_AT_WORK_SECONDS = 1.0
_LEFTOVER = re.compile(r"\..+\.(\d+)\.tmp")


class FileError(SapoolError, ValueError):
    """A path that can't be written to; the message names it and says why."""


def check_path(path: str | Path, what: str = "a path") -> None:
    """Check that a file or folder could have this path at all.

    Args:
        path: of a file or folder, there or not.
        what: the option or argument that it was given by, for the message.

    Raises:
        FileError: a control character or half a character in it, or too long a name.
    """
    text = str(path)
    if not text.isprintable():
        raise FileError(f"{what} must be a path of printable characters, got {quote(text)}")
    longest = max(len(os.fsencode(part)) for part in [*Path(text).parts, ""])
    if longest > MOST_NAME_BYTES or len(os.fsencode(text)) > MOST_PATH_BYTES:
        raise FileError(
            f"{what} must have names of at most {MOST_NAME_BYTES} bytes and {MOST_PATH_BYTES} in all, got {quote(text)}"
        )


def check_replaceable(path: Path, what: str = "") -> None:
    """Check that a file can be written here: nothing is there, or a regular file.

    Raises:
        FileError: a folder, a link, a device, a pipe or a socket is there; or the path can be no file's.
    """
    said = f"{what} {path}".strip()
    check_path(path, what or "a path")
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISDIR(mode):
        raise FileError(f"{said} is a folder; name the file to write")
    if stat.S_ISLNK(mode):
        raise FileError(f"{said} is a link, and only regular files are replaced; name the file itself")
    if not stat.S_ISREG(mode):
        raise FileError(f"{said} is a device, pipe or socket, and only regular files are replaced; name another file")


def write_text_atomically(path: Path, text: str) -> None:
    """Write a text as :func:`write_bytes_atomically` does."""
    write_bytes_atomically(path, text.encode())


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Write under a temporary name and rename, so that a reader never sees half a file.

    What killed writers of the same file left under their temporary names is removed.

    Raises:
        FileError: something else than a regular file is there.
        OSError: it can't be written; what was there is kept.
    """
    check_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in leftovers(path.parent, path.name):
        leftover.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def leftovers(folder: Path, name: str | None = None) -> list[Path]:
    """Return what killed writers left in a folder: files ``.NAME.PID.tmp`` whose process is no more.

    Args:
        folder: looked into; without ``name`` its subfolders, too.
        name: only those of this file.
    """
    found = folder.glob(f".{_literal(name)}.*.tmp") if name is not None else folder.rglob(".*.tmp")
    return [path for path in found if _is_left(path)]


def _is_left(path: Path) -> bool:
    named = _LEFTOVER.fullmatch(path.name)
    if named is None or _is_alive(int(named[1])):
        return False
    try:
        status = path.lstat()
    except FileNotFoundError:  # just now given its own name
        return False
    # A writer on another machine is not alive here, but has written a moment ago.
    return stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime > _AT_WORK_SECONDS


def _literal(name: str) -> str:
    """Return a name as a pattern that matches it alone."""
    return re.sub(r"([*?[])", r"[\1]", name)


def _is_alive(process: int) -> bool:
    if process == os.getpid():
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # somebody else's
    return True
