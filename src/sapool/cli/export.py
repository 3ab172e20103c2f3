"""``sapool export`` and ``sapool measure``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from sapool.cli.console import DONE, NOTHING_FITS, AsJson, InputSize, messages, parse_size, print_table, read_text

if TYPE_CHECKING:
    from torch import nn

    from sapool.records import ArenaRecord, ExportRecord


def export(
    model: Annotated[str, typer.Argument(help="Network: sapool:tiny, timm:NAME or torchvision:NAME.")],
    out: Annotated[Path, typer.Option(help="The .tflite to write.")] = Path("model.tflite"),
    input_size: InputSize = 64,
    num_classes: Annotated[int, typer.Option(help="Outputs of the classifier.")] = 10,
    plan: Annotated[Path | None, typer.Option(help="A plan.json to apply first.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Trained weights, .safetensors.")] = None,
    data: Annotated[str, typer.Option(help="Data set to calibrate the int8 ranges with.")] = "scattered-digits",
    passes: Annotated[str, typer.Option(help="Rewrites: all, none, or names, comma-separated.")] = "all",
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Quantise a network to int8, write it as .tflite and measure its arena.

    Without --weights the network is untrained: its arena is right, its answers are not.

    Example: sapool export sapool:tiny --plan runs/X/avg/plan.json --weights runs/X/avg/weights.safetensors
    """
    if out.exists() and not force:
        raise ValueError(f"{out} exists; choose another --out or say --force")
    if out.is_dir():
        raise ValueError(f"{out} is a folder; --out names the file to write")
    if not out.parent.is_dir():
        raise ValueError(f"{out.parent}: no such folder")
    from sapool.export import export_int8, measure_arena
    from sapool.training import load_data

    splits = load_data(data, input_size)
    network = _network(model, num_classes, input_size, plan, weights)
    record = export_int8(network, splits.calibration(), out, passes=passes)
    arena = measure_arena(out)
    if as_json:
        sys.stdout.write(json.dumps({"export": asdict(record), "arena": asdict(arena)}, indent=2) + "\n")
        return
    show_arena(arena, out, record)


def _network(model: str, num_classes: int, input_size: int, plan: Path | None, weights: Path | None) -> nn.Module:
    from sapool.export import randomize_norms
    from sapool.models import load_model
    from sapool.records import PoolingPlan
    from sapool.search import replan
    from sapool.training import load_weights

    network = load_model(model, num_classes)
    if plan is not None:
        planned = PoolingPlan.from_json(read_text(plan))
        if planned.input_size != (3, input_size, input_size):
            raise ValueError(f"{plan} is for an input of {planned.input_size} (C, H, W), --input-size is {input_size}")
        network = replan(network, planned)
    if weights is None:
        messages.print("no --weights: the network is untrained, its normalisations are randomised", markup=False)
        return randomize_norms(network)
    load_weights(network, weights)
    return network


def measure(
    file: Annotated[Path, typer.Argument(help="A .tflite file, of any origin.")],
    ram: Annotated[str | None, typer.Option("--ram", help="RAM budget; exit code 3 if the arena is over it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a .tflite on the real TensorFlow Lite Micro interpreter and show the arena it needs.

    Example: sapool measure model.tflite --ram 96KiB
    """
    budget = parse_size(ram) if ram is not None else None
    from sapool.export import measure_arena

    arena = measure_arena(file)
    if as_json:
        sys.stdout.write(json.dumps(asdict(arena), indent=2) + "\n")
    else:
        show_arena(arena, file)
    if budget is not None:
        fits = arena.fits(budget)
        if not as_json:
            verdict = "fits" if fits else "does not fit"
            sys.stdout.write(f"{arena.total_bytes:,} bytes {verdict} {budget:,} bytes of RAM\n")
        raise typer.Exit(DONE if fits else NOTHING_FITS)


def show_arena(arena: ArenaRecord, path: Path, record: ExportRecord | None = None) -> None:
    """Print an arena, and how its file was made, as a table."""
    table = Table(title=f"{path} on {arena.interpreter}", show_header=False)
    rows: list[tuple[str, Any]] = [
        ("arena head (activations, scratch)", f"{arena.head_bytes:,} bytes"),
        ("arena tail (persistent)", f"{arena.tail_bytes:,} bytes"),
        ("arena total", f"{arena.total_bytes:,} bytes"),
        ("file (flash)", f"{arena.flash_bytes:,} bytes"),
        ("operators", " ".join(arena.operators)),
    ]
    if record is not None:
        rows += [
            ("MACs", f"{record.macs:,}"),
            ("passes that changed it", ", ".join(record.passes) or "none"),
            ("largest float error of the passes", f"{record.float_error:.1e}"),
            (
                "int8 signal to noise on calibration",
                "-" if record.int8_snr_db is None else f"{record.int8_snr_db:.1f} dB",
            ),
        ]
    for name, value in rows:
        table.add_row(name, value)
    print_table(table)
