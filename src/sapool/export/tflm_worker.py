"""Runs one ``.tflite`` on TensorFlow Lite Micro, in a process of its own because the interpreter may abort it.

Usage: tflm_worker.py MODEL ARENA_BYTES [INPUTS.npy OUTPUTS.npy]. The allocator's report goes to standard error.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from tflite_micro import runtime


def main(model: str, arena_bytes: str, inputs: str | None = None, outputs: str | None = None) -> None:
    """Invoke once with zeros, or once an input."""
    interpreter = runtime.Interpreter.from_bytes(Path(model).read_bytes(), arena_size=int(arena_bytes))
    details = interpreter.get_input_details(0)
    batch = np.load(inputs) if inputs else np.zeros((1, *details["shape"][1:]), details["dtype"])
    results = []
    for sample in batch:
        interpreter.set_input(sample[None], 0)
        interpreter.invoke()
        results.append(interpreter.get_output(0).copy())
    if outputs:
        np.save(outputs, np.concatenate(results))
    interpreter.print_allocations()


if __name__ == "__main__":
    main(*sys.argv[1:])
