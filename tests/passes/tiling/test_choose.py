from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from sapool.export.runtime.interpreters import measure_arena
from sapool.memory import profile_graph
from sapool.passes.file.tile_prefix import tile_prefix
from sapool.passes.tiling.body import make_grid
from sapool.passes.tiling.choose import FORMS, Form, choose_tiling
from sapool.passes.tiling.costs import extra_macs
from sapool.passes.tiling.loop import run_in_loops
from sapool.passes.tiling.segments import TileableNetwork
from sapool.tflite import Graph, count_macs, read_graph, write_graph
from tests.passes.tiling.networks import inverted_residuals, odd_sizes
from tests.passes.tiling.small_files import LINEAR, VALID, SmallFile, run_both


def total_of(model: Graph) -> int:
    return profile_graph(model).total_bytes


def mobilenet(side: int) -> Any:
    """MobileNetV2's blocks (Sandler et al., 2018, table 2) down to 1/32, with padding folded into even kernels."""
    f = SmallFile(side, side)
    x = f.conv(f.input, 32, 4, 2, zero_edge=True)
    x = f.conv(f.conv(x, 0, 3, depthwise=True), 16, 1, act=LINEAR)
    for out, repeats, stride in ((24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1)):
        for i in range(repeats):
            wide = f.conv(x, 6 * f.shape(x)[3], 1)
            strided = stride == 2 and i == 0
            deep = f.conv(wide, 0, 4 if strided else 3, 2 if strided else 1, depthwise=True, zero_edge=strided)
            narrow = f.conv(deep, out, 1, act=LINEAR)
            x = f.join("ADD", narrow, x) if i else narrow
    return f.finish(x)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_mobilenet_fits_a_quarter_of_its_arena(form: Form, tmp_path: Path) -> None:
    model = mobilenet(224)
    choice = choose_tiling(model, form=form)
    assert choice is not None
    tiled = model.copy()
    FORMS[form](tiled, choice.grids)
    path = tmp_path / "tiled.tflite"
    path.write_bytes(write_graph(tiled))
    measured = measure_arena(path)
    assert (measured.head_bytes, measured.tail_bytes) == (choice.size.head_bytes, choice.size.tail_bytes)
    assert choice.before.total_bytes == total_of(model) > 1_500_000
    assert measured.head_bytes <= 400_000
    assert measured.total_bytes <= 700_000
    assert count_macs(read_graph(path.read_bytes())) == choice.macs + choice.extra_macs <= 1.2 * count_macs(model)


@pytest.mark.slow
def test_the_pass_keeps_the_bits(tmp_path: Path) -> None:
    model = mobilenet(96)
    expected = run_both(model, tmp_path / "whole.tflite")
    before = total_of(model)
    assert tile_prefix(model) > 0
    assert total_of(model) < 0.6 * before
    got = run_both(model, tmp_path / "tiled.tflite")
    assert all((a == b).all() for a, b in zip(got, expected, strict=True))
    assert tile_prefix(model) == 0  # it is tiled


def test_the_local_part_of_a_pool_takes_little_more_than_the_image() -> None:
    """3x3 stride 2 to 32 channels at 128 px, then an average pool and a patch embedding, both of stride 4."""
    f = SmallFile(128, 128)
    stem = f.conv(f.input, 32, 4, 2, zero_edge=True)
    pooled, embedded = f.pool(stem, 4, 4), f.conv(stem, 32, 4, 4, VALID)
    model = f.finish(f.join("MUL", pooled, f.unary("LOGISTIC", embedded, 1 / 256, -128)))
    assert profile_graph(model).head_bytes == 128 * 128 * 3 + 64 * 64 * 32
    choice = choose_tiling(model)
    assert choice is not None
    image, maps = 128 * 128 * 3, 2 * 16 * 16 * 32
    assert choice.size.head_bytes <= 1.1 * (image + maps)
    assert choice.extra_macs <= 0.2 * choice.macs


@pytest.mark.parametrize("limit", [0.0, 0.02, 0.1, 0.5])
def test_extra_macs_stay_within_the_limit(limit: float) -> None:
    model = mobilenet(64)
    choice = choose_tiling(model, most_extra_macs=limit)
    assert choice is None or choice.extra_macs <= limit * choice.macs
    assert limit == 0.0 or choice is not None


def test_more_macs_never_need_more_bytes() -> None:
    model = mobilenet(64)
    heads = [c.size.head_bytes for limit in (0.02, 0.1, 0.5) if (c := choose_tiling(model, most_extra_macs=limit))]
    assert heads == sorted(heads, reverse=True)


def test_nothing_changes_where_it_does_not_help() -> None:
    f = SmallFile(8, 8)
    model = f.finish(f.conv(f.conv(f.input, 8, 1), 64, 3, 1))
    before = write_graph(model)
    assert tile_prefix(model) == 0
    assert write_graph(model) == before
    assert choose_tiling(model) is None
    assert choose_tiling(odd_sizes(), least_saving=0.99) is None


def test_files_with_loops_or_offsets_are_left_alone() -> None:
    model = inverted_residuals(64)
    network = TileableNetwork(model)
    segment = list(network.segments(model.inputs[0]))[-1]
    run_in_loops(model, [make_grid(segment, network.stages(segment), 2, 2)])
    before = write_graph(model)
    assert choose_tiling(model) is None
    assert write_graph(model) == before


def test_choosing_does_not_change_the_model() -> None:
    model = inverted_residuals(64)
    before = write_graph(model)
    choice = choose_tiling(model)
    assert choice is not None
    assert write_graph(model) == before


def test_no_single_segment_and_grid_is_better() -> None:
    """Every segment in every grid, built and predicted: the choice is no worse than the best of them."""
    model = inverted_residuals(64)
    graph, network = model, TileableNetwork(model)
    choice = choose_tiling(model)
    assert choice is not None
    best = choice.before.total_bytes
    for source in [0, *(one.made for one in network.local.values())]:
        for segment in network.segments(source):
            stages = network.stages(segment)
            smallest = min(network.shapes[t][1] for t in segment.outputs)
            for rows, columns in itertools.product((1, 2, 3, 4, 8), repeat=2):
                if max(rows, columns) > smallest:
                    continue
                grid = make_grid(segment, stages, rows, columns)
                if extra_macs(graph, grid) <= 0.2 * choice.macs:
                    tiled = model.copy()
                    run_in_loops(tiled, [grid])
                    best = min(best, total_of(tiled))
    assert choice.size.total_bytes <= best < choice.before.total_bytes
