"""``sapool fit``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from sapool.cli.console import (
    DONE,
    NOTHING_FITS,
    AsJson,
    BoardName,
    Flash,
    InputSize,
    Model,
    Ram,
    Terminal,
    Weights,
    budget_from,
    check_folder,
    names_in,
    print_table,
    resumable,
)

if TYPE_CHECKING:
    from sapool.base.budget import Budget
    from sapool.base.records import RunRecord
    from sapool.firmware.program import CProgram
    from sapool.workflows.fit import FitSummary, Way


def fit(
    model: Model = "sapool:tiny",
    data: Annotated[str, typer.Option(help="Data set; scattered-digits is built in.")] = "scattered-digits",
    input_size: InputSize = "64",
    ram: Ram = None,
    flash: Flash = None,
    board: BoardName = None,
    pools: Annotated[str, typer.Option(help="Poolings to try, comma-separated.")] = "self_attentive,avg,strided",
    weights: Weights = None,
    recipe: Annotated[
        str | None, typer.Option(help="How to train: a recipe of sapool train (modern, ...) or a .yaml file.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training split; default 60, or the recipe's.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step; default 64, or the recipe's.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Its peak; default 0.01, or the recipe's.")] = None,
    augment: Annotated[str | None, typer.Option(help="Augmentations, comma-separated; default: the recipe's.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, data and order.")] = 0,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave damaged images out, and count them.")] = False,
    workers: Annotated[int, typer.Option(help="Processes that load images; 0: the one that trains.")] = 0,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    input_sizes: Annotated[
        str, typer.Option(help="Further sides to try, comma-separated: a smaller image instead of earlier strides.")
    ] = "",
    prune: Annotated[
        int, typer.Option(help="Poolings, best first, of which a network with later strides is pruned to fit, too.")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results; default: runs/ + data, model, size and budget.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """From a network, data and a RAM budget to an int8 model that is proven to fit.

    For each pooling: finds strides whose int8 model fits the budget (by exporting and measuring), trains, quantises,
    checks TensorFlow Lite Micro against LiteRT and measures the arena. Then names the best that fits.

    --input-sizes and --prune try further ways to the budget: a smaller image, or channels that go, behind later
    down-sampling, with a fine-tuning. A pooling that no strides make fit is pruned in any case. Every way is a run;
    validation chooses between them all.

    The same command again goes on where an interrupted one stopped. Exit codes: 0 something fits, 2 a mistake in the
    call, 3 nothing fits.

    Without --ram, --flash or --board: 64KiB and 1MiB. With --board the 64-bit arena is held against what the
    board leaves (a 32-bit core needs less), and at the end its own core's arena is predicted.

    Example: sapool fit --ram 40KiB --pools self_attentive,max
    """
    from sapool.base.records import record_to_json
    from sapool.networks.load import input_size_for
    from sapool.training import Hardware
    from sapool.workflows.fit import FitConfig
    from sapool.workflows.fit import fit as run_fit

    check_folder(out)
    budget = budget_from(ram, flash, board, default_ram="64KiB", default_flash="1MiB")
    config = FitConfig(
        model=model,
        data=data,
        input_size=input_size_for(model, input_size),
        ram_bytes=budget.ram_bytes,
        flash_bytes=budget.flash_bytes,
        pools=names_in(pools),
        **_training(recipe, augment, seed, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate),
        weights=None if weights is None else str(weights),
        skip_bad=skip_bad or None,
        input_sizes=sizes_in(input_sizes),
        prune=prune,
    )
    hardware = Hardware(workers, accelerator=accelerator)
    with resumable():
        summary = run_fit(config, out, Terminal(), hardware)
    if as_json:
        sys.stdout.write(record_to_json(summary) + "\n")
    else:
        _show_fit(summary, config.budget)
        if summary.best is not None:
            _show_emulated(Path(summary.folder) / summary.best)
        if board is not None and summary.best is not None:
            _show_board(board, Path(summary.folder) / summary.best / "model.tflite")
    raise typer.Exit(DONE if summary.best else NOTHING_FITS)


def _training(recipe: str | None, augment: str | None, seed: int, **numbers: Any) -> dict[str, Any]:
    """Return the fields of a fit's configuration that say how it trains."""
    given = {name: value for name, value in numbers.items() if value is not None}
    if recipe is None and augment is None:
        return given | {"seed": seed}
    from sapool.training import TrainConfig, read_recipe

    if augment is not None:
        given["augment"] = names_in(augment)
    if recipe is None:
        return {"training": TrainConfig(**({"epochs": 60, "learning_rate": 0.01} | given), seed=seed)}
    return {"training": read_recipe(recipe, **given, seed=seed)}


def sizes_in(text: str) -> tuple[int, ...]:
    """Return the whole numbers of a comma-separated list.

    Raises:
        ValueError: one is none.
    """
    for name in names_in(text):
        if not name.isdecimal():
            raise ValueError(f"--input-sizes must be whole numbers, comma-separated, got {name!r}")
    return tuple(int(name) for name in names_in(text))


def _show_emulated(run: Path) -> None:
    """Run the best network's C files on the emulated core, where there is a compiler for it."""
    import numpy as np

    from sapool.firmware.emulate import EmulationError
    from sapool.firmware.program import emulate
    from sapool.firmware.toolchain import ToolchainError

    program = _c_program(run)
    if program is None:
        return
    low, high = (-128, 128) if program.input_dtype == "int8" else (0, 256)
    image = np.random.default_rng(0).integers(low, high, (1, *program.input_shape)).astype(program.input_dtype)
    try:
        record = emulate(program, image)
    except (ToolchainError, EmulationError, ImportError) as error:
        sys.stdout.write(
            f"C files: {program.folder}, {program.total_ram_bytes:,} bytes of RAM; not emulated: {error}\n"
        )
        return
    sys.stdout.write(
        f"C files: {program.folder}; on an emulated {program.core} {record.ram_bytes:,} bytes of RAM in all, "
        f"{record.flash_bytes:,} of flash, {record.instructions:,} instructions an image\n"
    )


def _c_program(run: Path) -> CProgram | None:
    """Return the program beside a run's model; None where the C engine lacks an operator."""
    from sapool.firmware.program import BuildError, read_program
    from sapool.workflows.running import C_FOLDER

    try:
        return read_program(run / C_FOLDER)
    except BuildError:
        return None


def _show_board(board: str, model: Path) -> None:
    from sapool.cli.memory import told
    from sapool.memory.boards import get_board
    from sapool.memory.verdict import profile_for_target, verdict
    from sapool.tflite import read_graph

    found = get_board(board)
    judged = verdict(profile_for_target(read_graph(model), found.target), model.stat().st_size, found)
    sys.stdout.write(f"{told(judged)}\n")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _show_fit(summary: FitSummary, budget: Budget) -> None:
    table = Table(title=f"int8 models under {budget} (accuracy on test; bytes of TFLM's arena, of the C engine's RAM)")
    sizes = ("head", "tail", "arena", "C RAM", "flash")
    headings = ("way", "strides", "float", "int8", *sizes, "MACs", "parameters", "fits")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("way", "strides") else "right", no_wrap=True)
    for way, run in zip(summary.ways, summary.runs, strict=True):
        program = _c_program(Path(summary.folder) / way.name)
        c_ram = "-" if program is None else f"{program.total_ram_bytes:,}"
        table.add_row(way.name, *_fit_row(run, c_ram), style="bold" if way.name == summary.best else None)
    print_table(table)
    for way, run in zip(summary.ways, summary.runs, strict=True):
        if way.name == summary.best:
            files = Path(summary.folder) / way.name
            sys.stdout.write(
                f"best that fits (by int8 accuracy on validation, {_percent(run.int8_val_accuracy)}): {way.name}, "
                f"{_percent(run.int8_test_accuracy)} on test with {run.arena_bytes:,} bytes of arena\n"
                f"{_savings(way)}{_chance(summary, way)}"
                f"model and header: {files / 'model.tflite'}, {files / 'model.h'}\n"
            )
        if way.name == summary.closest:
            sys.stdout.write(
                f"nothing fits {budget.in_bytes()}; closest: "
                f"{way.name} with strides {','.join(map(str, run.strides))}, arena {run.arena_bytes:,} bytes, file "
                f"{run.flash_bytes:,} bytes\n"
            )


def _chance(summary: FitSummary, way: Way) -> str:
    if way.name not in summary.guessing:
        return ""
    return "this is no better than guessing: train longer, on more images, or with larger budgets\n"


def _savings(way: Way) -> str:
    """Say what each saving is worth, one after the other."""
    if not way.savings:
        return ""
    first, *others = way.savings
    before, said = first.arena_bytes, []
    for step in others:
        said.append(f"{step.name} {step.arena_bytes - before:+,}")
        before = step.arena_bytes
    return f"its arena, predicted: {first.arena_bytes:,} bytes as it is; {', '.join(said)}\n"


def _fit_row(run: RunRecord, c_ram: str) -> list[str]:
    return [
        ",".join(str(stride) for stride in run.strides),
        _percent(run.float_test_accuracy),
        _percent(run.int8_test_accuracy),
        *(f"{count:,}" for count in (run.head_bytes, run.tail_bytes, run.arena_bytes)),
        c_ram,
        f"{run.flash_bytes:,}",
        "-" if run.macs is None else f"{run.macs:,}",
        f"{run.parameters:,}",
        "yes" if run.fits else "no",
    ]
