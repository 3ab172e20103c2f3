from __future__ import annotations

from pathlib import Path

import pytest

from sapool.export.runtime.interpreters import measure_arena
from sapool.memory import profile_tflite
from sapool.passes.tiling.body import make_grid
from sapool.passes.tiling.loop import run_in_loops
from sapool.passes.tiling.segments import TileableNetwork
from sapool.passes.tiling.unrolled import run_unrolled
from sapool.tflite import write_graph
from tests.passes.tiling.networks import inverted_residuals, tiled
from tests.passes.tiling.small_files import run_both


@pytest.mark.slow
def test_two_loops_one_behind_the_other(tmp_path: Path) -> None:
    model = inverted_residuals()
    network = TileableNetwork(model)
    first = list(network.segments(model.inputs[0]))[2]
    second = list(network.segments(first.outputs[0]))[-1]
    grids = [make_grid(first, network.stages(first), 4, 1), make_grid(second, network.stages(second), 2, 2)]
    expected = run_both(model, tmp_path / "whole.tflite")
    for run in (run_in_loops, run_unrolled):
        changed = model.copy()
        run(changed, grids)
        got = run_both(changed, tmp_path / "tiled.tflite")
        assert all((a == b).all() for a, b in zip(got, expected, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(("side", "rows", "columns"), [(32, 4, 4), (48, 4, 1), (64, 4, 4)])
def test_the_loops_variables_lie_in_the_arena_once(side: int, rows: int, columns: int, tmp_path: Path) -> None:
    """The prediction knows nothing of tiling: it reads the file as the interpreter does."""
    path = tmp_path / "tiled.tflite"
    path.write_bytes(write_graph(tiled(inverted_residuals(side), "loop", rows, columns)))
    measured, predicted = measure_arena(path), profile_tflite(path)
    assert (measured.head_bytes, measured.tail_bytes) == (predicted.head_bytes, predicted.tail_bytes)
    image, output = side * side * 3, side * side // 16 * 12
    if side == 64:  # large enough for the variables to outweigh a tile: neither is there twice
        assert measured.head_bytes < 2 * image + output
    assert {"WHILE", "LESS", "SLICE", "DYNAMIC_UPDATE_SLICE", "CONV_2D"} <= set(measured.operators)
