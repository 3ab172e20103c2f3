"""Runs one ``.tflite`` on one interpreter, in a process of its own because either may abort it.

Usage: worker.py tflm|litert MODEL ARENA_BYTES INPUTS.npy OUTPUTS.npy. TFLM's allocator reports on standard error.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np


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
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    reference = OpResolverType.BUILTIN_REF
    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=reference, num_threads=1)
    interpreter.allocate_tensors()
    place, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    results = []
    for sample in inputs:
        interpreter.set_tensor(place, sample[None])
        interpreter.invoke()
        results.append(interpreter.get_tensor(result))
    return results


def main(engine: str, model: str, arena_bytes: str, inputs: str, outputs: str) -> None:
    """Run the model on every input and save the outputs."""
    data, batch = Path(model).read_bytes(), np.load(inputs)
    results = run_tflm(data, int(arena_bytes), batch) if engine == "tflm" else run_litert(data, batch)
    np.save(outputs, np.concatenate(results))


if __name__ == "__main__":
    main(*sys.argv[1:])
