"""What several tests need and is slow to make is made once a run, by whichever process asks first.

All processes of a run (the workers of pytest, and what they start) share a folder, which the environment names.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

VARIABLE = "SAPOOL_TESTS_SHARED"
T = TypeVar("T")


def open_folder() -> bool:
    """Make the folder unless a process above this one has; returns whether it is this one's to remove."""
    if VARIABLE in os.environ:
        return False
    os.environ[VARIABLE] = tempfile.mkdtemp(prefix="sapool-tests-")
    return True


def remove_folder() -> None:
    """Remove the folder with all that was made."""
    shutil.rmtree(os.environ.pop(VARIABLE), ignore_errors=True)


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """Return the file or folder ``name``, which ``make`` makes if nobody has; whoever else asks meanwhile waits."""
    open_folder()
    path = Path(os.environ[VARIABLE]) / name
    with path.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            part = path.with_name(f"{name}.part")
            shutil.rmtree(part, ignore_errors=True)
            make(part)
            part.rename(path)
    return path


def remembered(function: Callable[..., T], key_of: Callable[..., str]) -> Callable[..., T]:
    """Return ``function`` with its results kept: ``key_of`` gives, of the same arguments, what decides the result."""

    @functools.wraps(function)
    def ask(*args: object, **kwargs: object) -> T:
        digest = hashlib.sha256(key_of(*args, **kwargs).encode()).hexdigest()[:32]
        path = made_once(
            f"{function.__name__}-{digest}", lambda part: part.write_bytes(pickle.dumps(function(*args, **kwargs)))
        )
        found: T = pickle.loads(path.read_bytes())
        return found

    return ask
