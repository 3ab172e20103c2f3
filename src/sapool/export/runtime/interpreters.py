"""The two interpreters, each in a subprocess: what they compute, and what arena TensorFlow Lite Micro needs."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sapool.base.errors import SapoolError
from sapool.base.extras import require
from sapool.base.records import ArenaRecord
from sapool.export.runtime.blame import Culprit, find_culprit, one_operator
from sapool.memory import setup_bytes
from sapool.tflite import read_graph
from sapool.tflite.ends import input_output

Engine = Literal["tflm", "litert"]

# Only touched pages cost memory, and the measured head and tail do not depend on it.
ARENA_LIMIT_BYTES = 512 << 20
TIMED_INFERENCES = 30
_WORKER = Path(__file__).with_name("worker.py")
_PROBE_MARK = "@probe "  # stands before a file's name where the worker loads it
_LACKING = "Failed to get registration from op code"
_OUTPUTS = "outputs.npy"
_NAMES: dict[Engine, tuple[str, str]] = {
    "tflm": ("TensorFlow Lite Micro", "tflite_micro"),
    "litert": ("LiteRT", "ai_edge_litert"),
}


class InterpreterError(SapoolError, RuntimeError):
    """An interpreter refuses a model, or died of it; the message says which, on which operator and why.

    Attributes:
        culprit: the operator at fault, where one could be told.
    """

    def __init__(self, message: str, culprit: Culprit | None = None) -> None:
        super().__init__(message)
        self.culprit = culprit


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
    graph = read_graph(path)
    taken, _ = input_output(graph)
    report = _run("tflm", Path(path), np.zeros((1, *taken.shape[1:]), taken.dtype)).report
    sizes = {part: _allocation(report, part) for part in ("head", "tail", "total")}
    return ArenaRecord(
        head_bytes=sizes["head"],
        tail_bytes=sizes["tail"],
        total_bytes=sizes["total"],
        flash_bytes=Path(path).stat().st_size,
        operators=tuple(sorted(graph.kinds())),
        interpreter=f"tflite-micro {importlib.metadata.version('tflite-micro')}, 64-bit",
        setup_bytes=setup_bytes(graph),
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


def measure_latency(path: str | Path) -> float:
    """Return the median time of one inference on LiteRT's optimised kernels, one thread, in milliseconds.

    It is this machine's, and no micro-controller's: good for one pooling beside another.

    Raises:
        InterpreterError: the interpreter refuses the model or aborts.
    """
    taken, _ = input_output(read_graph(path))
    require(_NAMES["litert"][1], "deploy", "running LiteRT")
    inputs = np.zeros((TIMED_INFERENCES + 3, *taken.shape[1:]), taken.dtype)
    with tempfile.TemporaryDirectory() as folder:
        done = _work("time", Path(path), inputs, Path(folder))
        if done.returncode != 0:
            raise _failure("litert", Path(path), inputs[:1], done)
        return float(np.median(np.load(Path(folder) / _OUTPUTS))) * 1000


def trace_tensors(path: str | Path, inputs: NDArray[Any], tensors: Sequence[int]) -> Iterator[dict[int, NDArray[Any]]]:
    """Run a ``.tflite`` on LiteRT's reference kernels and yield what it holds in between, one inference at a time.

    Args:
        path: the file.
        inputs: (N, H, W, C), in the model's own input type.
        tensors: which tensors of the main graph, by index; constants are not among them.

    Yields:
        {index: raw values}, for every input.

    Raises:
        InterpreterError: the interpreter refuses the model or aborts.
    """
    require(_NAMES["litert"][1], "deploy", "running LiteRT")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "wanted.npy", np.asarray(tensors, np.int64))
        done = _work("trace", Path(path), inputs, folder)
        if done.returncode != 0:
            raise _failure("litert", Path(path), inputs, done)
        for index in range(len(inputs)):
            with np.load(folder / f"{index}.npz") as held:
                yield {int(key): held[key] for key in held}


def lacking_operators(kinds: Iterable[str]) -> frozenset[str]:
    """Return those builtin operators (``CONV_2D``) that the installed TFLM interpreter does not have.

    It is asked with a model of one such operator each, so the answer is the wheel's own, whatever its version.

    Raises:
        ImportError: the ``deploy`` extra is not installed.
    """
    require(_NAMES["tflm"][1], "deploy", "running TensorFlow Lite Micro")
    names = sorted(set(kinds))
    with tempfile.TemporaryDirectory() as folder:
        for number, kind in enumerate(names):
            (Path(folder) / f"{number}.tflite").write_bytes(one_operator(kind))
        said = _work("probe", Path(folder), np.zeros(0), Path(folder)).stderr
    answers = (answer.partition("\n") for answer in said.split(_PROBE_MARK)[1:])
    return frozenset(names[int(number)] for number, _, reply in answers if _LACKING in reply)


def _run(engine: Engine, path: Path, inputs: NDArray[Any]) -> _Run:
    name, package = _NAMES[engine]
    require(package, "deploy", f"running {name}")
    with tempfile.TemporaryDirectory() as folder:
        done = _work(engine, path, inputs, Path(folder))
        if done.returncode != 0:
            raise _failure(engine, path, inputs, done)
        return _Run(np.load(Path(folder) / _OUTPUTS), done.stderr)


def _work(
    engine: Engine | Literal["trace", "time", "probe"], path: Path, inputs: NDArray[Any], folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run the worker; its outputs come into ``folder``."""
    given = folder / "inputs.npy"
    np.save(given, inputs)
    # -P: the worker's own folder must not shadow packages.
    command = [sys.executable, "-P", str(_WORKER), engine, str(path), str(ARENA_LIMIT_BYTES), str(given)]
    command.append(str(folder / _OUTPUTS))
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def _failure(
    engine: Engine, path: Path, inputs: NDArray[Any], done: subprocess.CompletedProcess[str]
) -> InterpreterError:
    """Return the error that a dead worker means, with the operator it died of."""
    complaint = _complaint(done.stderr)
    culprit = find_culprit(path.read_bytes(), complaint, lambda data: _dies(engine, data, inputs))
    how = f"aborts with signal {-done.returncode}" if done.returncode < 0 else "refuses it"
    where = f" at {culprit}" if culprit else ""
    why = (culprit and culprit.cause) or complaint or "it said nothing"
    return InterpreterError(f"{path}: {_NAMES[engine][0]} {how}{where}: {why}", culprit)


def _dies(engine: Engine, data: bytes, inputs: NDArray[Any]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.tflite"
        path.write_bytes(data)
        return _work(engine, path, inputs, Path(folder)).returncode != 0


def _complaint(said: str) -> str:
    """Return the telling lines of a dead worker: what came before Python's traceback, else its last lines."""
    before, _, after = said.partition("Traceback")
    lines = [line.strip() for line in before.splitlines() if line.strip() and not _is_chatter(line)]
    errors = [line.strip() for line in after.splitlines() if line.strip() and not line.startswith(" ")]
    return " | ".join(lines[-3:] or errors[-2:])[:400]


def _is_chatter(line: str) -> bool:
    return "RecordingMicroAllocator" in line or line.startswith(("INFO", " "))


def _allocation(report: str, part: str) -> int:
    found = re.search(rf"Arena allocation {part} (\d+) bytes", report)
    if not found:
        raise InterpreterError(f"the interpreter's report has no line for {part}: {report[-200:]!r}")
    return int(found[1])
