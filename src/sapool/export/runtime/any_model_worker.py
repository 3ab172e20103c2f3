"""Runs one ``.tflite`` on TensorFlow Lite Micro, in a process of its own because it may abort it.

Usage: any_model_worker.py FOLDER ARENA_BYTES OUTPUTS. Reads ``model.tflite`` and ``inputs.npz`` (one array an input, a
run a row), writes ``outputs.npz`` with that many outputs likewise. The allocator reports on standard error.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np


def main(folder_name: str, arena_bytes: str, outputs: str) -> None:
    """Run the model of a folder on its inputs and save the outputs."""
    from tflite_micro import runtime

    folder = Path(folder_name)
    model = (folder / "model.tflite").read_bytes()
    with np.load(folder / "inputs.npz") as held:
        inputs = [held[f"arr_{place}"] for place in range(len(held.files))]
    interpreter = runtime.Interpreter.from_bytes(model, arena_size=int(arena_bytes))
    results: list[list[Any]] = [[] for _ in range(int(outputs))]
    for run in range(len(inputs[0])):
        for place, values in enumerate(inputs):
            interpreter.set_input(values[run], place)
        interpreter.invoke()
        for place in range(int(outputs)):
            results[place].append(interpreter.get_output(place).copy())
    interpreter.print_allocations()
    np.savez(folder / "outputs.npz", *(np.stack(made) for made in results))


if __name__ == "__main__":
    main(*sys.argv[1:])
