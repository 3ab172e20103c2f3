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
from sapool.tflite import Graph, write_graph
from sapool.tflite.ends import input_output


def run_tflm(graph: Graph, count: int = 2) -> tuple[NDArray[Any], ArenaRecord]:
    """Return a graph's raw outputs on random images, always the same, and the arena it takes."""
    data = write_graph(graph)
    taken, _ = input_output(graph)
    given = np.random.default_rng(0).integers(-128, 128, (count, *taken.shape[1:])).astype(taken.dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(data)
        return run_interpreter("tflm", path, given), measure_arena(path)


def kinds_of(graph: Graph) -> Counter[str]:
    """Count the main graph's operators."""
    return Counter(operator.kind for operator in graph.operators)
