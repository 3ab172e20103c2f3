"""The real TensorFlow Lite Micro interpreter: what arena a ``.tflite`` needs, and what it computes."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.optional import require
from sapool.records import ArenaRecord
from sapool.tflite_file import count_operators, load_tflite

# Only touched pages cost memory, and the measured head and tail do not depend on it.
ARENA_LIMIT_BYTES = 512 << 20
_WORKER = Path(__file__).with_name("tflm_worker.py")


class TflmError(RuntimeError):
    """TensorFlow Lite Micro refuses a model, or died of it; the message says on what."""


def measure_arena(path: str | Path) -> ArenaRecord:
    """Run a ``.tflite`` once on the TFLM interpreter, in a subprocess, and return what its allocator recorded.

    Args:
        path: the file.

    Returns:
        Head, tail and total in bytes, on this machine's 64-bit build.

    Raises:
        TfliteError: the file is no ``.tflite``.
        TflmError: the interpreter refuses the model (an operator it lacks, say) or aborts.
        ImportError: the ``deploy`` extra is not installed.
    """
    data = load_tflite(path)
    report = _run_worker(Path(path), [])
    sizes = {part: _allocation(report, part) for part in ("head", "tail", "total")}
    return ArenaRecord(
        head_bytes=sizes["head"],
        tail_bytes=sizes["tail"],
        total_bytes=sizes["total"],
        flash_bytes=len(data),
        operators=tuple(sorted(count_operators(data))),
        interpreter=f"tflite-micro {importlib.metadata.version('tflite-micro')}, 64-bit",
    )


def run_tflm(path: str | Path, inputs: NDArray[Any]) -> NDArray[Any]:
    """Run a ``.tflite`` on TFLM, one invocation an input.

    Args:
        path: the file.
        inputs: (N, H, W, C), in the model's own input type.

    Returns:
        Its raw outputs, (N, ...).

    Raises:
        TflmError: the interpreter refuses the model or aborts.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "inputs.npy", Path(folder) / "outputs.npy"
        np.save(given, inputs)
        _run_worker(Path(path), [str(given), str(made)])
        return np.load(made)


def _run_worker(path: Path, arguments: list[str]) -> str:
    """Return what the worker wrote to standard error."""
    require("tflite_micro", "deploy", "measuring the arena")
    # -P: the worker's own folder must not shadow packages.
    command = [sys.executable, "-P", str(_WORKER), str(path), str(ARENA_LIMIT_BYTES), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        how = f"aborts with signal {-done.returncode}" if done.returncode < 0 else "refuses it"
        raise TflmError(f"{path}: TensorFlow Lite Micro {how}: {_complaint(done.stderr)}")
    return done.stderr


def _complaint(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith((" ", "Traceback"))]
    lines = [line for line in lines if "RecordingMicroAllocator" not in line]
    return " | ".join(lines[-3:])[:400] or "it said nothing"


def _allocation(report: str, part: str) -> int:
    found = re.search(rf"Arena allocation {part} (\d+) bytes", report)
    if not found:
        raise TflmError(f"the interpreter's report has no line for {part}: {report[-200:]!r}")
    return int(found[1])
