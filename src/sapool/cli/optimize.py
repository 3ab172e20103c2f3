"""``sapool optimize``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from sapool.cli.console import AsJson, check_free, print_table

if TYPE_CHECKING:
    from sapool.export import OptimizeRecord


def optimize(
    file: Annotated[Path, typer.Argument(help="A .tflite file, of any origin.")],
    out: Annotated[Path | None, typer.Option(help="Where to write; default: FILE with .lean.tflite.")] = None,
    passes: Annotated[str, typer.Option(help="Rewrites: all, none, or names, comma-separated.")] = "all",
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make any .tflite need less arena without changing a bit of what it computes.

    Every rewrite is run on TensorFlow Lite Micro beside the original, on random inputs: one that changes an output, or
    saves nothing, is undone and said.

    Example: sapool optimize person_detect.tflite --out person_detect.lean.tflite
    """
    target = out if out is not None else file.with_suffix(".lean.tflite")
    check_free(target, force)
    from sapool.export import optimize_tflite

    record = optimize_tflite(file, target, passes=passes)
    if as_json:
        sys.stdout.write(json.dumps(record.to_dict(), indent=2) + "\n")
    else:
        _show(record)


def _show(record: OptimizeRecord) -> None:
    table = Table(title=f"{record.path} -> {record.out}: arena of TensorFlow Lite Micro in bytes")
    for name in ("pass", "places", "head", "tail", "total", ""):
        table.add_column(name, justify="left" if name in ("pass", "") else "right")
    rows = [("as it was", "", record.before, "")]
    rows += [
        (effect.name, str(effect.places), effect.after, "" if effect.kept else f"undone: {effect.reason}")
        for effect in record.effects
    ]
    for name, places, arena, note in [*rows, ("as it is now", "", record.after, "")]:
        table.add_row(name, places, f"{arena.head_bytes:,}", f"{arena.tail_bytes:,}", f"{arena.total_bytes:,}", note)
    print_table(table)
    sys.stdout.write(
        f"outputs equal to the bit in {record.compared_runs} runs; MACs {record.macs_before:,} -> "
        f"{record.macs_after:,}, file {record.flash_bytes_before:,} -> {record.flash_bytes_after:,} bytes\n"
    )
