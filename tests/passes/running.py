"""What the tests of the passes on a ``.tflite`` share."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.base.records import ArenaRecord
from sapool.export import measure_arena, run_interpreter
from sapool.tflite.file import input_output, operator_names, pack


def run_tflm(model: Any, count: int = 2) -> tuple[NDArray[Any], ArenaRecord]:
    """Return a ``ModelT``'s raw outputs on random images, always the same, and the arena it takes."""
    data = pack(model)
    taken, _ = input_output(data)
    given = np.random.default_rng(0).integers(-128, 128, (count, *taken.shape[1:])).astype(taken.dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(data)
        return run_interpreter("tflm", path, given), measure_arena(path)


def kinds_of(model: Any) -> Counter[str]:
    """Count the operators of a ``ModelT``."""
    return Counter(operator_names(model))
