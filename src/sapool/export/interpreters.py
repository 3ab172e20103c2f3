"""The two interpreters, each in a subprocess: what they compute, and what arena TensorFlow Lite Micro needs."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sapool.optional import require
from sapool.records import ArenaRecord
from sapool.tflite_file import count_operators, input_output, load_tflite

Engine = Literal["tflm", "litert"]

# Only touched pages cost memory, and the measured head and tail do not depend on it.
ARENA_LIMIT_BYTES = 512 << 20
_WORKER = Path(__file__).with_name("worker.py")
_NAMES: dict[Engine, tuple[str, str]] = {
    "tflm": ("TensorFlow Lite Micro", "tflite_micro"),
    "litert": ("LiteRT", "ai_edge_litert"),
}


class InterpreterError(RuntimeError):
    """An interpreter refuses a model, or died of it; the message says which and on what."""


@dataclass(frozen=True)
class _Run:
    outputs: NDArray[Any]
    report: str


def measure_arena(path: str | Path) -> ArenaRecord:
    """Run a ``.tflite`` once on the TFLM interpreter, in a subprocess, and return what its allocator recorded.

    Args:
        path: the file; any ``.tflite``, not only ours.

    Returns:
        Head, tail and total in bytes, on this machine's 64-bit build.

    Raises:
        TfliteError: the file is no ``.tflite``.
        InterpreterError: the interpreter refuses the model (an operator it lacks, say) or aborts.
        ImportError: the ``deploy`` extra is not installed.
    """
    data = load_tflite(path)
    taken, _ = input_output(data)
    report = _run("tflm", Path(path), np.zeros((1, *taken.shape[1:]), taken.dtype)).report
    sizes = {part: _allocation(report, part) for part in ("head", "tail", "total")}
    return ArenaRecord(
        head_bytes=sizes["head"],
        tail_bytes=sizes["tail"],
        total_bytes=sizes["total"],
        flash_bytes=len(data),
        operators=tuple(sorted(count_operators(data))),
        interpreter=f"tflite-micro {importlib.metadata.version('tflite-micro')}, 64-bit",
    )


def run_interpreter(engine: Engine, path: str | Path, inputs: NDArray[Any]) -> NDArray[Any]:
    """Run a ``.tflite`` in a subprocess, one invocation an input.

    Args:
        engine: ``"tflm"`` or ``"litert"`` (its reference kernels, which round as TFLM's do).
        path: the file.
        inputs: (N, H, W, C), in the model's own input type.

    Returns:
        Its raw outputs, (N, ...).

    Raises:
        InterpreterError: the interpreter refuses the model or aborts.
    """
    return _run(engine, Path(path), inputs).outputs


def _run(engine: Engine, path: Path, inputs: NDArray[Any]) -> _Run:
    name, package = _NAMES[engine]
    require(package, "deploy", f"running {name}")
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "inputs.npy", Path(folder) / "outputs.npy"
        np.save(given, inputs)
        # -P: the worker's own folder must not shadow packages.
        command = [sys.executable, "-P", str(_WORKER), engine, str(path), str(ARENA_LIMIT_BYTES), str(given), str(made)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            how = f"aborts with signal {-done.returncode}" if done.returncode < 0 else "refuses it"
            raise InterpreterError(f"{path}: {name} {how}: {_complaint(done.stderr)}")
        return _Run(np.load(made), done.stderr)


def _complaint(said: str) -> str:
    """Return the last telling lines of a dead worker."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith((" ", "Traceback"))]
    lines = [line for line in lines if "RecordingMicroAllocator" not in line and not line.startswith("INFO")]
    return " | ".join(lines[-3:])[:400] or "it said nothing"


def _allocation(report: str, part: str) -> int:
    found = re.search(rf"Arena allocation {part} (\d+) bytes", report)
    if not found:
        raise InterpreterError(f"the interpreter's report has no line for {part}: {report[-200:]!r}")
    return int(found[1])
