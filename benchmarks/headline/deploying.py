"""The headline's export: all passes, and tiles that may overlap more than an export allows itself."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import definitions
from torch import Tensor, nn

from sapool.base.files import write_bytes_atomically
from sapool.base.records import ArenaRecord, ExportRecord
from sapool.export import export_int8, measure_arena
from sapool.memory import head_without_inputs
from sapool.passes import FILE_PASSES, PASSES
from sapool.passes.file.offline_plan import plan_offline
from sapool.passes.file.tile_prefix import tile_prefix
from sapool.tflite import count_macs, read_graph, write_graph

LAST = ("tile_prefix", "plan_offline")
REWRITES = tuple(name for name in (*PASSES, *FILE_PASSES) if name not in LAST)


@dataclass(frozen=True)
class Deployed:
    """A file, its measured arena, and its head planned anew with the image's tensor at zero bytes."""

    export: ExportRecord
    arena: ArenaRecord
    head_without_image_bytes: int


def deploy(
    model: nn.Module, calibration: Sequence[Tensor], path: Path, *, passes: Sequence[str] = REWRITES, tiled: bool = True
) -> Deployed:
    """Export with ``passes``, then plan the arena, or first run the early maps in tiles; measure the outcome."""
    with tempfile.TemporaryDirectory() as folder:
        flat = Path(folder) / "flat.tflite"
        export = export_int8(model, calibration, flat, passes=passes)
        graph = read_graph(flat)
    applied = export.passes
    if tiled and tile_prefix(graph, most_extra_macs=definitions.MOST_EXTRA_MACS):
        applied += ("tile_prefix",)
    if passes and plan_offline(graph):
        applied += ("plan_offline",)
    data = write_graph(graph)
    write_bytes_atomically(path, data)
    export = replace(export, path=path.name, flash_bytes=len(data), macs=count_macs(graph), passes=applied)
    return Deployed(export, measure_arena(path), head_without_inputs(graph))
