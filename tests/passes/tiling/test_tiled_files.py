"""Tiled files on both interpreters: the same output bits, whatever the operators, the sizes and the tiles."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sapool.export.runtime.interpreters import measure_arena
from sapool.memory import profile_tflite
from sapool.passes.tiling.body import make_grid
from sapool.passes.tiling.choose import FORMS, Form, copy_structure
from sapool.passes.tiling.loop import run_in_loops
from sapool.passes.tiling.segments import Segment, TileableNetwork
from sapool.passes.tiling.unrolled import MOST_JOINED, run_unrolled
from sapool.tflite import OFFLINE, count_macs, read_graph
from sapool.tflite.file import operator_names, pack
from tests.passes.tiling.small_files import LINEAR, VALID, SmallFile, run_both


def inverted_residuals(side: int = 32) -> Any:
    f = SmallFile(side, side)
    stem = f.conv(f.input, 8, 4, 2, zero_edge=True)
    narrow = f.conv(f.conv(stem, 0, 3, depthwise=True), 6, 1, act=LINEAR)
    wide = f.conv(f.conv(narrow, 18, 1), 0, 3, depthwise=True)
    added = f.join("ADD", f.conv(wide, 6, 1, act=LINEAR), narrow)
    return f.finish(f.conv(f.conv(added, 12, 1), 0, 4, 2, depthwise=True, zero_edge=True))


def odd_sizes() -> Any:
    f = SmallFile(45, 31)
    x = f.conv(f.conv(f.input, 6, 3, 2), 5, 5, 1)
    return f.finish(f.conv(f.conv(x, 6, 3, 2), 4, 3, 1))


def unpadded() -> Any:
    f = SmallFile(41, 38)
    x = f.conv(f.pad(f.input, 2, 1), 6, 5, 2, VALID)
    return f.finish(f.conv(f.conv(x, 4, 3, 1, VALID), 5, 2, 2, VALID))


def dilated() -> Any:
    f = SmallFile(24, 36)
    x = f.conv(f.input, 6, 3, dilation=2)
    return f.finish(f.conv(f.conv(x, 0, 3, dilation=3, depthwise=True), 4, 2))


def pooled_branches() -> Any:
    """What stands in front of a self-attentive pool: the average pool and the patch embedding of one large map."""
    f = SmallFile(40, 40)
    stem = f.conv(f.input, 8, 4, 2, zero_edge=True)
    pooled = f.pool(stem, 4, 4)
    embedded = f.conv(stem, 8, 4, 4, VALID)
    return f.finish(f.join("MUL", embedded, pooled))


def element_wise() -> Any:
    f = SmallFile(30, 26)
    x = f.pool(f.conv(f.input, 6, 3, act=LINEAR), 3, 2, 0, "MAX_POOL_2D")
    gate = f.unary("LOGISTIC", f.conv(x, 6, 3, act=LINEAR), 1 / 256, -128)
    swish = f.unary("HARD_SWISH", f.scale_channels(x), 0.02, -10)
    both = f.concatenate(f.join("MUL", swish, gate), f.join("MUL", x, gate))
    return f.finish(f.pool(f.conv(both, 5, 3), 3, 1, 0))


NETWORKS: dict[str, Callable[[], Any]] = {
    one.__name__: one for one in (inverted_residuals, odd_sizes, unpadded, dilated, pooled_branches, element_wise)
}


def longest(model: Any) -> Segment:
    return list(TileableNetwork(model).segments(int(model.subgraphs[0].inputs[0])))[-1]


def tiled(model: Any, form: Form, rows: int, columns: int, segment: Segment | None = None) -> Any:
    segment = segment or longest(model)
    grid = make_grid(segment, TileableNetwork(model).stages(segment), rows, columns)
    assert grid.count == rows * columns
    changed = copy_structure(model)
    FORMS[form](changed, [grid])
    return changed


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_bits_on_both_interpreters(name: str, tmp_path: Path) -> None:
    model = NETWORKS[name]()
    assert len(longest(model).operators) == len(model.subgraphs[0].operators)
    expected = run_both(model, tmp_path / "whole.tflite")
    assert all(len(np.unique(values)) > 50 for values in expected)  # not all saturated
    for form, rows, columns in (("loop", 3, 2), ("unrolled", 2, 3)):
        got = run_both(tiled(model, form, rows, columns), tmp_path / "tiled.tflite")  # type: ignore[arg-type]
        for engine in (0, 1):
            np.testing.assert_array_equal(got[engine], expected[engine], err_msg=f"{form} on engine {engine}")


@pytest.mark.slow
def test_two_outputs_and_a_source_that_lives_on(tmp_path: Path) -> None:
    """Only the convolution and both branches are tiled; what joins them reads whole maps, and the stem again."""
    f = SmallFile(40, 40)
    stem = f.conv(f.input, 8, 3)
    branch = f.pool(f.conv(stem, 8, 3, 2), 2, 2)
    embedded = f.conv(stem, 8, 4, 4, VALID)
    joined = f.join("ADD", branch, embedded)
    model = f.finish(f.join("ADD", joined, f.pool(stem, 4, 4)))
    expected = run_both(model, tmp_path / "whole.tflite")
    segment = next(s for s in TileableNetwork(model).segments(stem) if s.last == 3)
    assert segment.outputs == (branch, embedded)
    for form in FORMS:
        got = run_both(tiled(model, form, 3, 3, segment), tmp_path / "tiled.tflite")
        assert all((a == b).all() for a, b in zip(got, expected, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_an_output_that_the_segment_itself_reads_too(form: Form, tmp_path: Path) -> None:
    """The cut is inside a residual: its shortcut is an output beside the wide map that is computed from it."""
    model = inverted_residuals(40)
    expected = run_both(model, tmp_path / "whole.tflite")
    segment = next(s for s in TileableNetwork(model).segments(int(model.subgraphs[0].inputs[0])) if s.last == 4)
    assert len(segment.outputs) == 2
    got = run_both(tiled(model, form, 3, 4, segment), tmp_path / "tiled.tflite")
    assert all((a == b).all() for a, b in zip(got, expected, strict=True))


@pytest.mark.slow
def test_two_loops_one_behind_the_other(tmp_path: Path) -> None:
    model = inverted_residuals()
    network = TileableNetwork(model)
    first = list(network.segments(int(model.subgraphs[0].inputs[0])))[2]
    second = list(network.segments(first.outputs[0]))[-1]
    grids = [make_grid(first, network.stages(first), 4, 1), make_grid(second, network.stages(second), 2, 2)]
    expected = run_both(model, tmp_path / "whole.tflite")
    for run in (run_in_loops, run_unrolled):
        changed = copy_structure(model)
        run(changed, grids)
        got = run_both(changed, tmp_path / "tiled.tflite")
        assert all((a == b).all() for a, b in zip(got, expected, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(("side", "rows", "columns"), [(32, 4, 4), (48, 4, 1), (64, 4, 4)])
def test_the_loops_variables_lie_in_the_arena_once(side: int, rows: int, columns: int, tmp_path: Path) -> None:
    """The prediction knows nothing of tiling: it reads the file as the interpreter does."""
    path = tmp_path / "tiled.tflite"
    path.write_bytes(pack(tiled(inverted_residuals(side), "loop", rows, columns)))
    measured, predicted = measure_arena(path), profile_tflite(path)
    assert (measured.head_bytes, measured.tail_bytes) == (predicted.head_bytes, predicted.tail_bytes)
    image, output = side * side * 3, side * side // 16 * 12
    if side == 64:  # large enough for the variables to outweigh a tile: neither is there twice
        assert measured.head_bytes < 2 * image + output
    assert {"WHILE", "LESS", "SLICE", "DYNAMIC_UPDATE_SLICE", "CONV_2D"} <= set(measured.operators)


def test_given_offsets_read_the_same_from_the_list_and_from_a_graphs_own_part() -> None:
    """Runtimes differ in where they look up a subgraph's tensors."""
    for model in (inverted_residuals(), pooled_branches(), odd_sizes()):
        changed = tiled(model, "loop", 3, 2)
        entry = next(e for e in changed.metadata if e.name == OFFLINE.encode())
        offsets = np.asarray(changed.buffers[entry.buffer].data).view(np.int32)[3:]
        assert len(offsets) == sum(len(graph.tensors) for graph in changed.subgraphs)
        start = 0
        for graph in changed.subgraphs:
            computed = [t for t, tensor in enumerate(graph.tensors) if changed.buffers[tensor.buffer].data is None]
            assert computed
            assert [offsets[t] for t in computed] == [offsets[start + t] for t in computed]
            assert all(t < len(changed.subgraphs[0].tensors) for t in computed)
            start += len(graph.tensors)


def test_many_tiles_are_joined_ten_at_a_time() -> None:
    f = SmallFile(46, 30)
    model = tiled(f.finish(f.conv(f.input, 4, 3)), "unrolled", 23, 15)
    names, operators = operator_names(model), model.subgraphs[0].operators
    joins = [len(op.inputs) for name, op in zip(names, operators, strict=True) if name == "CONCATENATION"]
    assert max(joins) == MOST_JOINED
    assert min(joins) > 1
    assert Counter(names)["CONV_2D"] == 23 * 15


def test_weights_are_stored_once() -> None:
    model = odd_sizes()
    size = len(pack(model))
    stored = {id(buffer) for buffer in model.buffers}
    for form in FORMS:
        changed = tiled(copy.deepcopy(model), form, 4, 4)
        large = [b for b in changed.buffers if b.data is not None and len(b.data) > 100 and id(b) not in stored]
        assert sum(len(b.data) for b in large) < size


def test_macs_of_a_loop_count_every_tile() -> None:
    model = odd_sizes()
    whole = count_macs(read_graph(pack(model)))
    loop, unrolled = (count_macs(read_graph(pack(tiled(model, form, 3, 2)))) for form in FORMS)
    assert loop == unrolled > whole


def test_what_is_not_local_is_not_tiled() -> None:
    """Constants over the whole map, TRANSPOSE and operators behind them stay out."""
    f = SmallFile(16, 16)
    x = f.conv(f.input, 4, 3)
    position = np.zeros((1, 16, 16, 4), np.int8)
    constant = f._constant(position, f.quantized(0.02, 0))
    added = f.add("ADD", [x, constant], f.like(x, (1, 16, 16, 4)))
    model = f.finish(f.conv(added, 4, 3))
    assert [one.place for one in longest(model).operators] == [0]
