"""Running a ``.tflite`` with any number of inputs and outputs on TensorFlow Lite Micro, and measuring its arena.

:mod:`sapool.export.runtime.interpreters` runs networks of this library: one image in, one result out. This is for
files that somebody brings.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.base.extras import require
from sapool.export.runtime.interpreters import ARENA_LIMIT_BYTES, InterpreterError, _allocation, _complaint
from sapool.tflite import Tensor, TfliteError, read_graph
from sapool.tflite.ends import check_number

_WORKER = Path(__file__).with_name("any_model_worker.py")
# An int32 input is often an index, which must be in range.
_INDICES = 2


@dataclass(frozen=True)
class Outcome:
    """What TensorFlow Lite Micro made of some inputs.

    Attributes:
        outputs: (runs, *shape), one an output of the model.
        head_bytes: of the arena, as the recording allocator printed it on this machine's 64-bit build.
        tail_bytes: as well.
        total_bytes: their sum.
    """

    outputs: tuple[NDArray[Any], ...]
    head_bytes: int
    tail_bytes: int
    total_bytes: int

    def same_outputs(self, other: Outcome) -> bool:
        """Whether every output has the same bits."""
        pairs = zip(self.outputs, other.outputs, strict=True)
        return all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)


def inputs_of(data: bytes) -> tuple[Tensor, ...]:
    """Return what a ``.tflite`` takes.

    Raises:
        TfliteError: it takes nothing, or an input of a type that is no number.
    """
    graph = read_graph(data)
    if not graph.inputs:
        raise TfliteError("a model without inputs always computes the same: there is nothing to compare")
    return tuple(check_number(graph.tensors[place]) for place in graph.inputs)


def random_inputs(data: bytes, runs: int, seed: int = 0) -> tuple[NDArray[Any], ...]:
    """Return (runs, *shape) of noise for every input: the whole range of 8 and 16 bits, normal floats, 0 or 1."""
    dice = np.random.default_rng(seed)
    made: list[NDArray[Any]] = []
    for info in inputs_of(data):
        shape = (runs, *info.shape)
        if info.dtype == "float32":
            made.append(dice.standard_normal(shape).astype(np.float32))
        elif info.dtype == "int32":
            made.append(dice.integers(0, _INDICES, shape).astype(np.int32))
        else:
            limits = np.iinfo(info.dtype)
            made.append(dice.integers(limits.min, limits.max, shape, info.dtype, endpoint=True))
    return tuple(made)


def run_any(name: str, data: bytes, inputs: Sequence[NDArray[Any]]) -> Outcome:
    """Run a ``.tflite`` on TensorFlow Lite Micro in a subprocess, one invocation a run.

    Args:
        name: what messages call it.
        data: the file's bytes.
        inputs: (runs, *shape), one an input of the model.

    Raises:
        InterpreterError: the interpreter refuses the model or aborts.
        ImportError: the ``deploy`` extra is not installed.
    """
    require("tflite_micro", "deploy", "running TensorFlow Lite Micro")
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        (folder / "model.tflite").write_bytes(data)
        np.savez(folder / "inputs.npz", *inputs)
        # -P: the worker's own folder must not shadow packages.
        outputs_made = len(read_graph(data).outputs)
        command = [sys.executable, "-P", str(_WORKER), str(folder), str(ARENA_LIMIT_BYTES), str(outputs_made)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            how = f"aborts with signal {-done.returncode}" if done.returncode < 0 else "refuses it"
            why = _complaint(done.stderr) or "it said nothing"
            raise InterpreterError(f"{name}: TensorFlow Lite Micro {how}: {why}")
        with np.load(folder / "outputs.npz") as held:
            outputs = tuple(held[f"arr_{place}"] for place in range(len(held.files)))
    head, tail, total = (_allocation(done.stderr, part) for part in ("head", "tail", "total"))
    return Outcome(outputs, head, tail, total)
