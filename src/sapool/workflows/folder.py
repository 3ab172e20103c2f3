"""The folder that a job leaves: claimed by one configuration, worked in by one process, whole once its record is in."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sapool.base.budget import as_written_today
from sapool.base.errors import SapoolError
from sapool.base.files import check_path, leftovers, write_text_atomically
from sapool.base.quoting import quote
from sapool.base.reading import read_json
from sapool.base.records import PoolingPlan

CONFIG, RECORD, WEIGHTS, PLAN = "config.json", "record.json", "weights.safetensors", "plan.json"
CHANNELS, PRUNE, TUNING, TRAINING = "channels.json", "prune.json", "tuning.json", "training.json"
MODEL, HEADER, SUMMARY, COMPARISON = "model.tflite", "model.h", "summary.json", "compare.json"
# What says of a folder that it holds a result, or a part of one: these go before anything is written in its place.
_SAYING = (RECORD, SUMMARY, COMPARISON, PRUNE, TUNING, TRAINING, CHANNELS, CONFIG)
_TRIES, _PAUSE_S = 10, 0.05  # of locking a folder
_UNFINISHED = re.compile(r"\..+\.\d+\.tmp")


class FolderConflictError(SapoolError, ValueError):
    """The folder holds results of another configuration, or another process is at work in it."""


@dataclass(frozen=True)
class Kind:
    """What the folders of one command have in common.

    Attributes:
        command: that fills it.
        last: the file that is written last of all: it says that the rest is there.
        files: the rest that must be there for the folder to count as whole.
    """

    command: str
    last: str = RECORD
    files: tuple[str, ...] = (WEIGHTS,)


TRAIN = Kind("sapool train")
PRUNED = Kind("sapool prune", files=(WEIGHTS, CHANNELS))
DETECT = Kind("sapool detect train")
FIT = Kind("sapool fit", SUMMARY, ())
COMPARE = Kind("sapool compare", COMPARISON, ())
DETECT_COMPARE = Kind("sapool detect compare", COMPARISON, ())
# One way of a fit, or one run of a comparison; what else it promises its record says.
RUN = Kind("sapool fit or compare", files=())


class RunFolder:
    """A folder of results.

    A job claims it with its configuration, which is kept in ``config.json``; the same configuration may come back to
    it, another is refused. While it is worked in it is locked. The job's last file is written when everything else is
    there, and only with it the folder counts as whole.

    Args:
        path: where it lies or will lie.
        kind: whose it is.

    Raises:
        FileError: no folder can have such a path.
    """

    def __init__(self, path: str | Path, kind: Kind) -> None:
        check_path(path, "the folder")
        self.path, self.kind = Path(path), kind

    def file(self, name: str) -> Path:
        """Return the path of a file in it."""
        return self.path / name

    # -- whose it is

    @contextmanager
    def claimed(self, config: Mapping[str, Any]) -> Iterator[None]:
        """Claim it for a configuration and lock it; a start that fails at once leaves nothing.

        Raises:
            FolderConflictError: the folder holds another configuration or files of another program, or another process
                is at work in it.
        """
        ours = not self.path.exists()
        with self.locked():
            self.claim(config)
            try:
                yield
            except ValueError:
                if ours and not self._has_work():
                    shutil.rmtree(self.path)
                raise

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock it, made if it isn't there, and clear it of what killed writers left; an empty one goes on an error.

        Raises:
            FolderConflictError: another process is at work in it, or it is no folder.
        """
        if self.path.exists() and not self.path.is_dir():
            raise FolderConflictError(f"{self.path} is a file, no folder; choose another --out")
        ours = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        with _alone_in(self.path):
            for leftover in self._unfinished():
                leftover.unlink(missing_ok=True)
            try:
                yield
            except BaseException:
                if ours and self.path.is_dir() and not any(self.path.iterdir()):
                    self.path.rmdir()
                raise

    def claim(self, config: Mapping[str, Any]) -> None:
        """Write a configuration into it as ``config.json``, or check that it is the one there.

        By itself, without a lock, this is for jobs that several processes share.

        Raises:
            FolderConflictError: the folder holds another configuration, or files of another program.
        """
        for leftover in leftovers(self.path):
            leftover.unlink(missing_ok=True)
        path = self.file(CONFIG)
        wanted: dict[str, Any] = json.loads(json.dumps(dict(config)))
        if path.is_file():
            _check_same(path, wanted)
            return
        if self.path.exists() and (not self.path.is_dir() or any(set(self.path.iterdir()) - set(self._unfinished()))):
            raise FolderConflictError(
                f"{self.path} exists and is no folder of {self.kind.command}; choose another --out"
            )
        write_text_atomically(path, json.dumps(wanted, indent=2))

    def _unfinished(self) -> list[Path]:
        """What writers that were killed left, anywhere in it; only while nobody else writes."""
        return [path for path in self.path.rglob(".*.tmp") if _UNFINISHED.fullmatch(path.name) and path.is_file()]

    def _has_work(self) -> bool:
        """Whether something is in it that took time to make."""
        made = (path for pattern in ("*.ckpt", "*.json") for path in self.path.rglob(pattern))
        return any(path.name != CONFIG for path in made)

    # -- what is in it

    def is_whole(self) -> bool:
        """Whether everything that its command promises is there."""
        return self.has(dict.fromkeys((self.kind.last, *self.kind.files)))

    def has(self, files: Mapping[str, int | None]) -> bool:
        """Whether these files are there, each with so many bytes (None: any number)."""
        return all(
            self.file(name).is_file() and (size is None or self.file(name).stat().st_size == size)
            for name, size in files.items()
        )

    def read(self, *parts: str) -> dict[str, Any]:
        """Return the record of a whole folder, an object with at least these ``parts``.

        Raises:
            ValueError: it is damaged; the message names it.
        """
        path = self.file(self.kind.last)
        try:
            record = read_json(path)
            if not isinstance(record, dict):
                raise ValueError(f"an object expected, got {quote(record)}")
            if missing := [part for part in parts if part not in record]:
                raise ValueError(f"no {missing[0]!r} in it")
        except ValueError as error:
            said = str(error).removeprefix(f"{path}: ")
            raise ValueError(f"{path} is damaged ({said}): remove it and say the same command again") from None
        return record

    def write_plan(self, plan: PoolingPlan | None) -> None:
        """Write the plan, or see to it that none of an earlier job is there."""
        if plan is not None:
            write_text_atomically(self.file(PLAN), plan.to_json())
        else:
            self.file(PLAN).unlink(missing_ok=True)

    def finish(self, record: str) -> None:
        """Write the last file: from now on the folder is whole."""
        write_text_atomically(self.file(self.kind.last), record)

    def forget(self) -> None:
        """Take away, record first, all that says that there is a result: before another is written in its place."""
        for name in _SAYING:
            self.file(name).unlink(missing_ok=True)


# A loader's worker outlives its killed parent for seconds: it must not keep the parent's folder locked.
_locks: set[int] = set()


def _forget_locks() -> None:
    while _locks:
        os.close(_locks.pop())


os.register_at_fork(after_in_child=_forget_locks)


def _locked(handle: int) -> bool:
    """Lock an open folder; the children of a process that was just killed may need a moment to let go of it."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_S)
        except OSError:
            return True  # some network file systems lock no folders: then nobody is told
        else:
            return True
    return False


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Lock a folder as long as this process works in it; a kill unlocks it too."""
    handle = os.open(folder, os.O_RDONLY)
    _locks.add(handle)
    try:
        if not _locked(handle):
            raise FolderConflictError(
                f"{folder}: another process is at work in it; wait for that one, or choose another --out"
            )
        yield
    finally:
        if handle in _locks:  # else this is a child, which has closed it
            _locks.remove(handle)
            os.close(handle)


def _check_same(path: Path, wanted: dict[str, Any]) -> None:
    try:
        held = read_json(path)
    except ValueError:
        raise FolderConflictError(f"{path} is not JSON; choose another --out") from None
    held = as_written_today(held) if isinstance(held, dict) else held
    different = [key for key in wanted if not isinstance(held, dict) or held.get(key) != wanted[key]]
    if different:
        key = different[0]
        was, now = held.get(key) if isinstance(held, dict) else held, wanted[key]
        while isinstance(was, dict) and isinstance(now, dict):  # a whole recipe or plan is no readable line
            inner = next(k for k in [*now, *was] if k not in was or k not in now or was[k] != now[k])
            key, was, now = f"{key}.{inner}", was.get(inner), now.get(inner)
        raise FolderConflictError(
            f"{path.parent} holds results of another configuration ({key} is {_short(was)} there, {_short(now)} here); "
            "choose another --out, or remove that folder"
        )


def _short(value: Any) -> str:
    said = str(value)
    return said if len(said) <= 80 else f"{said[:77]}..."
