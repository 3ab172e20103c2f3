"""``sapool export`` and ``sapool measure``."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from sapool.base.image_size import InputSize as ImageSize
from sapool.base.image_size import as_input_size
from sapool.base.sizes import parse_size
from sapool.cli.console import (
    DONE,
    NOTHING_FITS,
    AsJson,
    InputSize,
    Weights,
    check_free,
    messages,
    print_table,
    read_plan,
    say,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sapool.base.records import ArenaRecord, ExportRecord
    from sapool.export import HealthReport
    from sapool.firmware.program import CProgram
    from sapool.predict.profile import PassSaving


# Enough to tell; every image runs through two models.
_CHECKED_IMAGES = 32


def export(
    model: Annotated[
        str,
        typer.Argument(help="Network: sapool:tiny, timm:NAME, torchvision:NAME; or a folder of sapool train or prune."),
    ],
    out: Annotated[Path, typer.Option(help="The .tflite to write.")] = Path("model.tflite"),
    input_size: InputSize = "64",
    num_classes: Annotated[int, typer.Option(help="Outputs of the classifier.")] = 10,
    plan: Annotated[Path | None, typer.Option(help="A plan.json to apply first.")] = None,
    weights: Weights = None,
    data: Annotated[str, typer.Option(help="Data set to calibrate the int8 ranges with.")] = "scattered-digits",
    passes: Annotated[str, typer.Option(help="Rewrites: all, none, or names, comma-separated.")] = "all",
    health: Annotated[bool, typer.Option(help="Check the int8 model layer by layer against the float one.")] = True,
    onnx: Annotated[
        Path | None, typer.Option(help="Also write the float network as ONNX, checked in onnxruntime.")
    ] = None,
    pte: Annotated[Path | None, typer.Option(help="Also write the float network for ExecuTorch.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    as_json: AsJson = False,
) -> None:
    """Quantise a network to int8, write it as .tflite, measure its arena and check its health.

    Without --weights the network is untrained: its arena is right, its answers are not. --passes list names the
    rewrites and what each does. A folder of sapool train or prune brings its network, plan,
    weights, size and data along.

    Example: sapool export runs/first --out model.tflite

    Example: sapool export sapool:tiny --plan runs/X/avg/plan.json --weights runs/X/avg/weights.safetensors
    """
    if passes == "list":
        _list_passes()
        return
    from sapool.firmware.program import check_own_folder

    targets = {"--out": out, "--onnx": onnx, "--pte": pte}
    for option, path in targets.items():
        check_free(path, force, option)
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"{path.parent}: no such folder")
    c_files = out.with_name(f"{out.stem}_c")
    check_own_folder(c_files)
    named = [path.resolve() for path in targets.values() if path is not None]
    if len(set(named)) != len(named):
        raise ValueError("--out, --onnx and --pte must name different files")
    from sapool.base.arena import as_plain
    from sapool.export import build_beside, export_int8, measure_arena

    network, calibration, size = _subject(model, data, num_classes, input_size, plan, weights)
    with tempfile.TemporaryDirectory() as folder:
        exact, flat = Path(folder) / "float.tflite", Path(folder) / "flat.tflite"
        record = export_int8(network, calibration, out, passes=passes, float_path=exact, flat_path=flat)
        arena = measure_arena(out)
        report = _health(network, calibration, exact, flat) if health else None
        program = build_beside(flat, c_files, name=out.stem)
    others, savings = _other_formats(network, size, onnx, pte), _savings(network, size, passes)
    if as_json:
        checked = json.loads(report.to_json()) if report is not None else None
        whole = {"export": asdict(record), "arena": as_plain(arena), "health": checked}
        whole["c"] = program if isinstance(program, str) else asdict(program)
        whole |= {name: asdict(other) for name, other in others.items()}
        whole["predicted_savings"] = as_plain(savings)
        sys.stdout.write(json.dumps(whole, indent=2) + "\n")
        return
    show_arena(arena, out, record)
    sys.stdout.write(told_program(program) + "\n")
    if savings:
        _show_savings(savings)
    for line in report.lines() if report is not None else ():
        say(line)
    for name, other in others.items():
        sys.stdout.write(
            f"{name}: {other.path}, {other.flash_bytes:,} bytes, error {other.float_error:.0e} in {other.runtime}\n"
        )


def told_program(program: CProgram | str) -> str:
    """Say in a line what a network needs as C files, or why there are none."""
    if isinstance(program, str):
        return f"no C files: {program}"
    return (
        f"as C files: {program.total_ram_bytes:,} bytes of RAM with the stack, {program.flash_bytes:,} of flash, in "
        f"{program.folder}"
    )


def _savings(network: nn.Module, input_size: ImageSize, passes: str) -> Sequence[PassSaving]:
    """Predict what each pass saved; nothing where torch.fx can't trace the network."""
    from sapool.networks.tracer import UntraceableModelError
    from sapool.predict.profile import profile_passes

    try:
        return profile_passes(network, input_size, passes=passes)
    except UntraceableModelError:
        return ()


def _show_savings(savings: Sequence[PassSaving]) -> None:
    table = Table(title="what each pass saved of the arena (predicted, bytes)")
    for name in ("pass", "head", "tail", "arena", "saved"):
        table.add_column(name, justify="left" if name == "pass" else "right")
    before = savings[0]
    for step in savings:
        saved = before.arena_bytes - step.arena_bytes
        if saved or not step.name:
            counts = (step.head_bytes, step.tail_bytes, step.arena_bytes)
            table.add_row(step.name or "none", *(f"{count:,}" for count in counts), f"{saved:,}" if step.name else "")
        before = step
    print_table(table)


def _list_passes() -> None:
    from sapool.export import FILE_PASSES, PASSES

    table = Table(title="passes, in the order they are applied")
    for name in ("pass", "works on", "what it does"):
        table.add_column(name)
    for kind, known in (("the network", PASSES), ("the file", FILE_PASSES)):
        for name, function in known.items():
            said = sys.modules[function.__module__].__doc__ or ""
            table.add_row(name, kind, " ".join(said.split("\n\n")[0].split()))
    print_table(table)


def _health(network: nn.Module, calibration: list[Tensor], exact: Path, flat: Path) -> HealthReport:
    """Check the file without loops: it computes what the other does, and every layer can be looked at."""
    import torch

    from sapool.export import check_health

    return check_health(flat, torch.cat(calibration)[:_CHECKED_IMAGES], network, float_path=exact)


def _other_formats(network: nn.Module, input_size: ImageSize, onnx: Path | None, pte: Path | None) -> dict[str, Any]:
    """Write the float network in the other formats that are asked for."""
    made: dict[str, Any] = {}
    if onnx is not None:
        from sapool.export import export_onnx

        made["onnx"] = export_onnx(network, input_size, onnx)
    if pte is not None:
        from sapool.export import export_executorch

        made["pte"] = export_executorch(network, input_size, pte)
    return made


def _subject(
    model: str, data: str, num_classes: int, input_size: str, plan: Path | None, weights: Path | None
) -> tuple[nn.Module, list[Tensor], ImageSize]:
    """Return the network, what to calibrate it with, and its input size: a run's folder knows all three."""
    from sapool.networks.load import input_size_for
    from sapool.training import load_data
    from sapool.workflows.opened import read_run

    if not Path(model).is_dir():
        size = input_size_for(model, input_size)
        calibration = list(load_data(data, size).calibration())
        return _network(model, num_classes, size, plan, weights), calibration, size
    if plan is not None or weights is not None:
        raise ValueError(f"{model} is a run's folder and has its own plan and weights: leave --plan and --weights out")
    run = read_run(Path(model))
    return run.network(), list(run.data().calibration()), run.input_size


def _network(model: str, num_classes: int, input_size: ImageSize, plan: Path | None, weights: Path | None) -> nn.Module:
    from sapool.export import randomize_norms
    from sapool.training import load_weights

    network = planned_network(model, num_classes, input_size, plan)
    if weights is None:
        messages.print("no --weights: the network is untrained, its normalisations are randomised")
        return randomize_norms(network)
    load_weights(network, weights)
    return network


def planned_network(model: str, num_classes: int, input_size: ImageSize, plan: Path | None) -> nn.Module:
    """Load a network by name, with a plan in it if one is given.

    Raises:
        ValueError: an unknown name, no plan in the file, or one for another network or size.
    """
    from sapool.networks.load import load_model
    from sapool.predict.search import replan

    network = load_model(model, num_classes, in_channels=as_input_size(input_size)[0])
    if plan is None:
        return network
    return replan(network, read_plan(plan, input_size))


def measure(
    file: Annotated[Path, typer.Argument(help="A .tflite file, of any origin.")],
    ram: Annotated[str | None, typer.Option("--ram", help="RAM budget; exit code 3 if the arena is over it.")] = None,
    time: Annotated[
        float | None,
        typer.Option(
            help="Seconds that loading the model, and one inference, may take; default: many times what it should."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a .tflite on the real TensorFlow Lite Micro interpreter and show the arena it needs.

    Example: sapool measure model.tflite --ram 96KiB
    """
    from sapool.base.budget import Budget

    budget = Budget(ram_bytes=None if ram is None else parse_size(ram))
    from sapool.base.records import record_to_json
    from sapool.export import measure_arena

    arena = measure_arena(file, time_limit=time)
    if as_json:
        sys.stdout.write(record_to_json(arena) + "\n")
    else:
        show_arena(arena, file)
    fits = budget.fits(arena)
    if ram is not None and not as_json:
        said = "fits" if fits else "does not fit"
        sys.stdout.write(f"an arena of {arena.arena_bytes:,} bytes {said} {budget.in_bytes()}\n")
    raise typer.Exit(DONE if fits else NOTHING_FITS)


def show_arena(arena: ArenaRecord, path: Path, record: ExportRecord | None = None) -> None:
    """Print an arena, and how its file was made, as a table."""
    table = Table(title=f"{path} on {arena.interpreter}", show_header=False)
    rows: list[tuple[str, Any]] = [
        ("arena head (activations, scratch)", f"{arena.head_bytes:,} bytes"),
        ("arena tail (persistent)", f"{arena.tail_bytes:,} bytes"),
        *_planning(arena),
        ("arena", f"{arena.arena_bytes:,} bytes"),
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


def _planning(arena: ArenaRecord) -> list[tuple[str, str]]:
    """Return what planning needs in place of the head, where that is more."""
    more = arena.setup_bytes > arena.head_bytes
    return [("arena while planning, in place of the head", f"{arena.setup_bytes:,} bytes")] if more else []
