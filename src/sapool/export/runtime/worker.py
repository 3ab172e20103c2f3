"""Runs one ``.tflite`` on one interpreter, in a process of its own because either may abort it.

Usage: worker.py tflm|litert|trace|time|probe MODEL ARENA_BYTES INPUTS.npy OUTPUTS.npy

tflm: run it; the allocator reports on standard error. litert: run it. trace: run it on LiteRT and save the tensors that
``wanted.npy`` lists, beside OUTPUTS.npy, as one ``.npz`` an input. time: run it on LiteRT's fast kernels and save the
seconds that every inference took. probe: load each ``.tflite`` of the folder MODEL on
TFLM; its complaints come on standard error, each file's under its name.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_PROBE_ARENA_BYTES = 1 << 16


def run_tflm(model: bytes, arena_bytes: int, inputs: Any) -> list[Any]:
    """Return TensorFlow Lite Micro's outputs, one invocation an input (N, ...)."""
    from tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(model, arena_size=arena_bytes)
    results = []
    for sample in inputs:
        interpreter.set_input(sample[None], 0)
        interpreter.invoke()
        results.append(interpreter.get_output(0).copy())
    interpreter.print_allocations()
    return results


def run_litert(model: bytes, inputs: Any) -> list[Any]:
    """Return the outputs of LiteRT's reference kernels: they round as the micro-controller's do.

    The optimised kernels and the default delegate differ from TFLM by up to three steps.
    """
    interpreter = _reference(model, preserve=False)
    result = interpreter.get_output_details()[0]["index"]
    return [interpreter.get_tensor(result) for _ in _invocations(interpreter, inputs)]


def trace_litert(model: bytes, inputs: Any, folder: Path) -> None:
    """Save the tensors that ``wanted.npy`` in ``folder`` lists, of every input, as ``0.npz``, ``1.npz``, ..."""
    wanted = np.load(folder / "wanted.npy")
    interpreter = _reference(model, preserve=True)
    for number in _invocations(interpreter, inputs):
        held: dict[str, Any] = {}
        for index in wanted:
            with contextlib.suppress(ValueError):  # what a loop makes has no memory of its own in LiteRT
                held[str(index)] = interpreter.get_tensor(int(index))
        np.savez(folder / f"{number}.npz", **held)


def time_litert(model: bytes, inputs: Any) -> list[Any]:
    """Return the seconds of every inference on LiteRT's optimised kernels, one thread; the first three warm up."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    place = interpreter.get_input_details()[0]["index"]
    seconds = []
    for sample in inputs:
        interpreter.set_tensor(place, sample[None])
        start = time.perf_counter()
        interpreter.invoke()
        seconds.append(np.array([time.perf_counter() - start]))
    return seconds[3:]


def _reference(model: bytes, preserve: bool) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=preserve,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    return interpreter


def _invocations(interpreter: Any, inputs: Any) -> Iterator[int]:
    """Run the model on each input; yields its number while the tensors are there to read."""
    place = interpreter.get_input_details()[0]["index"]
    for number, sample in enumerate(inputs):
        interpreter.set_tensor(place, sample[None])
        interpreter.invoke()
        yield number


def probe_tflm(folder: Path) -> None:
    """Load every ``.tflite`` of a folder on TFLM, each in a fork: one without its options may end the process."""
    from tflite_micro import runtime

    for path in sorted(folder.glob("*.tflite")):
        sys.stderr.write(f"@probe {path.stem}\n")
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            try:
                runtime.Interpreter.from_bytes(path.read_bytes(), arena_size=_PROBE_ARENA_BYTES)
            finally:
                os._exit(0)
        os.waitpid(child, 0)


def main(engine: str, model: str, arena_bytes: str, inputs: str, outputs: str) -> None:
    """Run the model on every input and save the outputs."""
    if engine == "probe":
        probe_tflm(Path(model))
        return
    data, batch = Path(model).read_bytes(), np.load(inputs)
    if engine == "trace":
        trace_litert(data, batch, Path(outputs).parent)
        return
    if engine == "tflm":
        results = run_tflm(data, int(arena_bytes), batch)
    else:
        results = time_litert(data, batch) if engine == "time" else run_litert(data, batch)
    np.save(outputs, np.concatenate(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
