"""Small networks to tile, each with another trait, and how the tests tile them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sapool.passes.tiling.body import make_grid
from sapool.passes.tiling.choose import FORMS, Form
from sapool.passes.tiling.segments import Segment, TileableNetwork
from sapool.tflite import Graph
from tests.passes.tiling.small_files import LINEAR, VALID, SmallFile


def inverted_residuals(side: int = 32) -> Graph:
    f = SmallFile(side, side)
    stem = f.conv(f.input, 8, 4, 2, zero_edge=True)
    narrow = f.conv(f.conv(stem, 0, 3, depthwise=True), 6, 1, act=LINEAR)
    wide = f.conv(f.conv(narrow, 18, 1), 0, 3, depthwise=True)
    added = f.join("ADD", f.conv(wide, 6, 1, act=LINEAR), narrow)
    return f.finish(f.conv(f.conv(added, 12, 1), 0, 4, 2, depthwise=True, zero_edge=True))


def odd_sizes() -> Graph:
    f = SmallFile(45, 31)
    x = f.conv(f.conv(f.input, 6, 3, 2), 5, 5, 1)
    return f.finish(f.conv(f.conv(x, 6, 3, 2), 4, 3, 1))


def unpadded() -> Graph:
    f = SmallFile(41, 38)
    x = f.conv(f.pad(f.input, 2, 1), 6, 5, 2, VALID)
    return f.finish(f.conv(f.conv(x, 4, 3, 1, VALID), 5, 2, 2, VALID))


def dilated() -> Graph:
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


def element_wise() -> Graph:
    f = SmallFile(30, 26)
    x = f.pool(f.conv(f.input, 6, 3, act=LINEAR), 3, 2, 0, "MAX_POOL_2D")
    gate = f.unary("LOGISTIC", f.conv(x, 6, 3, act=LINEAR), 1 / 256, -128)
    swish = f.unary("HARD_SWISH", f.scale_channels(x), 0.02, -10)
    both = f.concatenate(f.join("MUL", swish, gate), f.join("MUL", x, gate))
    return f.finish(f.pool(f.conv(both, 5, 3), 3, 1, 0))


NETWORKS: dict[str, Callable[[], Any]] = {
    one.__name__: one for one in (inverted_residuals, odd_sizes, unpadded, dilated, pooled_branches, element_wise)
}


def longest(model: Graph) -> Segment:
    return list(TileableNetwork(model).segments(model.inputs[0]))[-1]


def tiled(model: Graph, form: Form, rows: int, columns: int, segment: Segment | None = None) -> Any:
    segment = segment or longest(model)
    grid = make_grid(segment, TileableNetwork(model).stages(segment), rows, columns)
    assert grid.count == rows * columns
    changed = model.copy()
    FORMS[form](changed, [grid])
    return changed
