"""Runs one ``.tflite`` on one interpreter, in a process of its own because either may abort it, or never end.

Usage: worker.py FOLDER. ``job.json`` there says what to do (see :class:`sapool.export.runtime.process.Job`),
``model.tflite`` and ``inputs.npz`` (one array an input of the model, a run a row) what with; ``outputs.npz`` gets one
array an output likewise. What an interpreter says comes on standard error.

Nothing but what stands in a process of its own can stop an interpreter: a timer that ends the process, set anew for
every inference, a limit on its memory and on the files it writes, and a signal that the parent's death sends.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

LOADED = "@loaded"
PROBE = "@probe "
_PROBE_ARENA_BYTES = 1 << 16
_PR_SET_PDEATHSIG = 1
_WARM_UP = 3

Arrays = Sequence[Any]


def die_with(parent: int) -> None:
    """End when the parent does, even if it was killed and could tell nobody."""
    with contextlib.suppress(OSError, AttributeError):  # no Linux: the timer alone ends us
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def limit(job: dict[str, Any]) -> None:
    """Bound this process; a crash leaves no image of its memory."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    bounds = (
        (resource.RLIMIT_AS, job["memory_bytes"]),
        (resource.RLIMIT_FSIZE, job["memory_bytes"]),
        (resource.RLIMIT_CORE, 0),
    )
    for kind, most in bounds:
        with contextlib.suppress(OSError, ValueError):  # some systems have no such limit
            hard = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


# What importing an interpreter and writing the outputs may take besides.
_AROUND_S = 20.0


def set_timer(job: dict[str, Any], more: float = 0.0) -> None:
    """Give the next step its time; the system ends the process when it is over, whatever code it is in."""
    # Of the processor's time: a busy machine must not end what would have ended by itself.
    signal.setitimer(signal.ITIMER_PROF, job["seconds"] + more)


def loaded() -> None:
    """Say that the interpreter has taken the model: what fails now depends on the inputs."""
    sys.stderr.write(LOADED + "\n")
    sys.stderr.flush()


def run_tflm(folder: Path, job: dict[str, Any], inputs: Arrays) -> list[list[Any]]:
    """Return what TensorFlow Lite Micro makes of every run; the allocator reports on standard error."""
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes((folder / "model.tflite").read_bytes(), arena_size=job["arena_bytes"])
    loaded()
    results = []
    for run in range(job["runs"]):
        set_timer(job)
        for place, values in enumerate(inputs):
            interpreter.set_input(values[run], place)
        interpreter.invoke()
        results.append([interpreter.get_output(place).copy() for place in range(job["outputs"])])
    interpreter.print_allocations()
    return results


def run_litert(folder: Path, job: dict[str, Any], inputs: Arrays) -> list[list[Any]]:
    """Return the outputs of LiteRT's reference kernels: they round as the micro-controller's do.

    The optimised kernels and the default delegate differ from TFLM by up to three steps.
    """
    interpreter = _litert(folder, reference=True, preserve=False)
    places = [detail["index"] for detail in interpreter.get_output_details()]
    return [[interpreter.get_tensor(place) for place in places] for _ in _invocations(interpreter, job, inputs)]


def trace_litert(folder: Path, job: dict[str, Any], inputs: Arrays) -> list[list[Any]]:
    """Save the tensors that the job wants, of every run, as ``0.npz``, ``1.npz``, ..."""
    interpreter = _litert(folder, reference=True, preserve=True)
    for number in _invocations(interpreter, job, inputs):
        held: dict[str, Any] = {}
        for index in job["wanted"]:
            with contextlib.suppress(ValueError):  # what a loop makes has no memory of its own in LiteRT
                held[str(index)] = interpreter.get_tensor(index)
        np.savez(folder / f"{number}.npz", **held)
    return []


def time_litert(folder: Path, job: dict[str, Any], inputs: Arrays) -> list[list[Any]]:
    """Return the seconds of every inference on LiteRT's optimised kernels, one thread; the first three warm up."""
    interpreter = _litert(folder, reference=False, preserve=False)
    starts: list[float] = []
    seconds = [[np.array(time.perf_counter() - starts[-1])] for _ in _invocations(interpreter, job, inputs, starts)]
    return seconds[_WARM_UP:]


def probe_tflm(folder: Path, job: dict[str, Any], inputs: Arrays) -> list[list[Any]]:
    """Load every numbered ``.tflite`` on TFLM, each in a fork: one without its options may end the process."""
    from tflite_micro import runtime

    for path in sorted(folder.glob("probe-*.tflite")):
        sys.stderr.write(f"{PROBE}{path.stem.removeprefix('probe-')}\n")
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            set_timer(job)  # a fork has none
            try:
                runtime.Interpreter.from_bytes(path.read_bytes(), arena_size=_PROBE_ARENA_BYTES)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        set_timer(job)
    return []


def _litert(folder: Path, *, reference: bool, preserve: bool) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    options: dict[str, Any] = {"experimental_op_resolver_type": OpResolverType.BUILTIN_REF} if reference else {}
    interpreter = Interpreter(
        model_content=(folder / "model.tflite").read_bytes(),
        experimental_preserve_all_tensors=preserve,
        num_threads=1,
        **options,
    )
    interpreter.allocate_tensors()
    loaded()
    return interpreter


def _invocations(
    interpreter: Any, job: dict[str, Any], inputs: Arrays, starts: list[float] | None = None
) -> Iterator[int]:
    """Run the model on each run's inputs; yields its number while the tensors are there to read."""
    places = [detail["index"] for detail in interpreter.get_input_details()]
    for run in range(job["runs"]):
        set_timer(job)
        for place, values in zip(places, inputs, strict=True):
            interpreter.set_tensor(place, values[run])
        if starts is not None:
            starts.append(time.perf_counter())
        interpreter.invoke()
        yield run


TASKS: dict[str, Callable[[Path, dict[str, Any], Arrays], list[list[Any]]]] = {
    "tflm": run_tflm,
    "litert": run_litert,
    "trace": trace_litert,
    "time": time_litert,
    "probe": probe_tflm,
}


def main(folder_name: str) -> None:
    """Do the job of a folder."""
    folder = Path(folder_name)
    job = json.loads((folder / "job.json").read_text())
    die_with(job["parent"])
    limit(job)
    set_timer(job, _AROUND_S)
    with np.load(folder / "inputs.npz") as held:
        inputs = [held[f"arr_{place}"] for place in range(len(held.files))]
    results = TASKS[job["task"]](folder, job, inputs)
    set_timer(job, _AROUND_S)
    np.savez(folder / "outputs.npz", *(np.stack(made) for made in zip(*results, strict=True)))


if __name__ == "__main__":
    main(sys.argv[1])
