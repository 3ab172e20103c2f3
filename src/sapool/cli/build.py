"""``sapool build``: a network as C files that stream rows."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from sapool.base.image_size import as_input_size
from sapool.cli.console import AsJson, InputSize, messages, print_table, read_text

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sapool.firmware.emulate import EmulationRecord
    from sapool.firmware.program import CProgram

_TAKES = ("rows", "image")


def build(
    model: Annotated[
        str, typer.Argument(help="An int8 .tflite of any origin, a folder of sapool train, or a network: timm:NAME ...")
    ],
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("firmware"),
    name: Annotated[str, typer.Option(help="Prefix of all names in C.")] = "model",
    core: Annotated[str, typer.Option(help="cortex-m4, m7, m33, m55, m0plus, riscv32 or host.")] = "cortex-m4",
    takes: Annotated[
        str, typer.Option("--input", help="rows: as a camera brings them; image: kept whole in RAM.")
    ] = "rows",
    recompute: Annotated[str, typer.Option(help="MACs that may be done twice to need less RAM; only 0 so far.")] = "0",
    labels: Annotated[Path | None, typer.Option(help="A text file, a class a line.")] = None,
    emulate: Annotated[int, typer.Option(min=0, help="Run so many images on the emulated core.")] = 0,
    project: Annotated[str, typer.Option(help="Build file for cmake, arduino, esp-idf or zephyr.")] = "cmake",
    input_size: InputSize = "64",
    num_classes: Annotated[int, typer.Option(help="Outputs of a network named by name.")] = 10,
    data: Annotated[str, typer.Option(help="Data set to calibrate a named network with.")] = "scattered-digits",
    as_json: AsJson = False,
) -> None:
    """Write a network as plain C that needs no interpreter and takes the image a row at a time.

    Example: sapool build model.tflite --out firmware --emulate 3
    """
    if takes not in _TAKES:
        raise ValueError(f"--input must be rows or image, got {takes!r}")
    wanted = {"name": name, "core": core, "stream_input": takes == "rows", "recompute": _share(recompute)}
    wanted |= {"labels": _labels(labels), "project": project}
    if emulate:
        _check_emulation(core)
    program = _built(model, out, wanted, input_size, num_classes, data)
    record = _emulated(program, emulate) if emulate else None
    if as_json:
        whole: dict[str, Any] = {"program": asdict(program), "emulation": None}
        if record is not None:
            whole["emulation"] = {key: value for key, value in asdict(record).items() if key != "outputs"}
        sys.stdout.write(json.dumps(whole, indent=2) + "\n")
        return
    show_program(program, record)


def _share(text: str) -> float:
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise ValueError(f"--recompute must be a share, such as 4% or 0.04, got {text!r}") from None


def _labels(path: Path | None) -> tuple[str, ...]:
    return () if path is None else tuple(read_text(path).splitlines())


def _check_emulation(core: str) -> None:
    """Find the compiler before anything is written."""
    from sapool.firmware.cores import find_core
    from sapool.firmware.toolchain import find_compiler

    found = find_core(core)
    if found.family == "host" or not found.emulated_as:
        raise ValueError(f"--emulate needs a core that can be emulated, {core} can't")
    find_compiler(found)


def _built(model: str, out: Path, wanted: dict[str, Any], input_size: str, num_classes: int, data: str) -> CProgram:
    from sapool.export import build_c

    if model.endswith(".tflite") or Path(model).is_file():
        return build_c(model, out, **wanted)
    network, images, how = _subject(model, input_size, num_classes, data)
    return build_c(network, out, calibration=images, **how, **wanted)


def _subject(
    model: str, input_size: str, num_classes: int, data: str
) -> tuple[nn.Module, list[Tensor], dict[str, Any]]:
    """Return a network, what to calibrate it with, and how its pixels are scaled."""
    from sapool.export import randomize_norms
    from sapool.networks.load import input_size_for, load_model
    from sapool.training import load_data
    from sapool.workflows.opened import read_run

    if Path(model).is_dir():
        run = read_run(Path(model))
        recipe = run.recipe()
        how = {} if recipe.mean is None or recipe.std is None else {"mean": recipe.mean, "std": recipe.std}
        return run.network(), list(run.data().calibration()), how
    size = input_size_for(model, input_size)
    network = load_model(model, num_classes, in_channels=as_input_size(size)[0])
    images = list(load_data(data, size).calibration())
    messages.print("the network is untrained: its normalisations are randomised")
    return randomize_norms(network), images, {}


def _emulated(program: CProgram, count: int) -> EmulationRecord:
    import numpy as np

    from sapool.firmware.program import emulate

    low, high = (-128, 128) if program.input_dtype == "int8" else (0, 256)
    images = np.random.default_rng(0).integers(low, high, (count, *program.input_shape)).astype(program.input_dtype)
    return emulate(program, images)


def show_program(program: CProgram, record: EmulationRecord | None = None) -> None:
    """Print what a program needs as a table."""
    table = Table(title=f"{program.folder}: {program.name} for {program.core}", show_header=False)
    stack = program.stack_bytes if record is None else record.stack_bytes
    rows = [
        ("RAM: the state, image rows included", f"{program.ram_bytes:,} bytes"),
        ("stack at its deepest", f"{stack:,} bytes" + ("" if record is None else " (emulated)")),
        ("flash", f"{program.flash_bytes if record is None else record.flash_bytes:,} bytes"),
        ("of it code", f"about {program.code_bytes:,} bytes"),
        ("MACs", f"{program.macs:,}"),
    ]
    if record is None:
        rows.append(("instructions", f"about {program.instructions:,}"))
    else:
        rows.append(("instructions (emulated)", f"{record.instructions:,}"))
        rows.append(("of them in the worst push", f"{record.worst_push_instructions:,}"))
        rows.append(("instructions a MAC", f"{record.instructions / max(program.macs, 1):.2f}"))
    for name, value in rows:
        table.add_row(name, value)
    print_table(table)
