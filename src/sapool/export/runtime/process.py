"""The process an interpreter runs in: bounded in time and memory, gone with its parent, and nothing left of it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Engine = Literal["tflm", "litert"]
Task = Literal["tflm", "litert", "trace", "time", "probe"]

# Only touched pages cost memory, and the measured head and tail do not depend on it.
ARENA_LIMIT_BYTES = 512 << 20
MEMORY_LIMIT_BYTES = 4 << 30
TIME_LIMIT_S = 60.0
_WORKER = Path(__file__).with_name("worker.py")
_PREFIX = "sapool-interpreter-"
_SPARE_S = 60  # for Python to start on a busy machine; the worker's own timer comes first
_BUSY = 8  # how many processes may share a core
_OLD_S = 60
_MOST_SAID = 1 << 20


@dataclass(frozen=True)
class Job:
    """What a worker is told.

    Attributes:
        task: what to do.
        runs: how many inferences.
        outputs: how many outputs the model has.
        seconds: of the processor that loading the model, and each inference, may take.
        wanted: tensors to be saved, by index.
        arena_bytes: of TensorFlow Lite Micro's arena.
        memory_bytes: what the process may take.
        parent: whose death is its own.
    """

    task: Task
    runs: int
    outputs: int
    seconds: float = TIME_LIMIT_S
    wanted: tuple[int, ...] = ()
    arena_bytes: int = ARENA_LIMIT_BYTES
    memory_bytes: int = MEMORY_LIMIT_BYTES
    parent: int = field(default_factory=os.getpid)

    def __post_init__(self) -> None:
        """Check the time.

        Raises:
            ValueError: it is no positive number of at most a day.
        """
        if not 0 < self.seconds <= 86_400:
            raise ValueError(f"the time for one inference must be over 0 and at most 86,400 s, got {self.seconds}")


@dataclass(frozen=True)
class Finished:
    """A worker that has ended.

    Attributes:
        code: its exit status; negative: the signal that ended it.
        said: what it said on standard error.
        folder: where it left what it made.
        job: what it was told.
    """

    code: int
    said: str
    folder: Path
    job: Job

    @property
    def timed_out(self) -> bool:
        """Whether it was ended because a step took too long."""
        return self.code in (-signal.SIGPROF, -signal.SIGALRM)

    def outputs(self) -> tuple[NDArray[Any], ...]:
        """Return what it made: (runs, *shape), one an output."""
        with np.load(self.folder / "outputs.npz") as held:
            return tuple(held[f"arr_{place}"] for place in range(len(held.files)))


@contextlib.contextmanager
def work(
    job: Job, model: bytes, inputs: Sequence[NDArray[Any]], files: Mapping[str, bytes] | None = None
) -> Iterator[Finished]:
    """Run the worker, and yield how it ended while what it left is there.

    Args:
        job: what to do.
        model: a ``.tflite``.
        inputs: (runs, *shape), one an input of the model.
        files: further files of the folder, by name.
    """
    with scratch_folder() as folder:
        for name, data in {"model.tflite": model, **(files or {})}.items():
            (folder / name).write_bytes(data)
        np.savez(folder / "inputs.npz", *inputs)
        (folder / "job.json").write_text(json.dumps(asdict(job)))
        said = folder / "said.txt"
        with said.open("wb") as sink:
            code = _run(job, folder, sink.fileno())
        with said.open("rb") as source:
            text = source.read(_MOST_SAID).decode(errors="replace")
        yield Finished(code, text, folder, job)


def _run(job: Job, folder: Path, sink: int) -> int:
    """Return the exit status of the worker."""
    # -P: the worker's own folder must not shadow packages. One thread: each would reserve memory of its own.
    command = [sys.executable, "-P", str(_WORKER), str(folder)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    limit = _BUSY * job.seconds * (job.runs + 2) + _SPARE_S
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=environment, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return -signal.SIGALRM
    return done.returncode


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a temporary folder that goes afterwards; one whose process was killed goes when the next is made."""
    _clear_left_behind()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems lock no folders
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    finally:
        os.close(handle)
        shutil.rmtree(folder, ignore_errors=True)


def _clear_left_behind() -> None:
    """Remove the folders of processes that are no more: nobody has them locked."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # One that was made this moment is not locked yet.
                if not _is_alive(folder.name.split("-")[2]) or time.time() - folder.stat().st_mtime > _OLD_S:
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)


def _is_alive(process: str) -> bool:
    if not process.isdecimal() or len(process) > 9:
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
