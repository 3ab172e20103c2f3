"""``sapool eval``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from sapool.cli.console import AsJson, Terminal, print_table

if TYPE_CHECKING:
    from sapool.workflows.evaluate import Evaluation

_ENGINES, _SPLITS = ("litert", "tflm"), ("test", "val", "train")
# More columns than this don't stand side by side in 80.
_MATRIX = 12


def evaluate(
    model: Annotated[str, typer.Argument(help="A .tflite classifier, or a folder of results with a model.tflite.")],
    data: Annotated[
        str | None, typer.Option(help="Data: NAME, NAME:FOLDER or FOLDER; default: what the folder was trained on.")
    ] = None,
    split: Annotated[str, typer.Option(help="test, val or train.")] = "test",
    engine: Annotated[str, typer.Option(help="litert (reference kernels), or tflm, which is slower.")] = "litert",
    images: Annotated[int | None, typer.Option(help="So many, evenly spaced; default: all.")] = None,
    mean: Annotated[str, typer.Option(help="Of a bare .tflite: the images' mean, 0.5 or 0.48,0.46,0.41.")] = "",
    std: Annotated[str, typer.Option(help="Of a bare .tflite: the images' standard deviation, likewise.")] = "",
    as_json: AsJson = False,
) -> None:
    """Count what an int8 model answers on data: accuracy with its interval, each class, the confusion matrix.

    A folder of results brings its data, normalisation and float network along, and int8 is held against float.

    Example: sapool eval model.tflite --data my_pictures --mean 0.5 --std 0.5

    Example: sapool eval runs/first/avg
    """
    for option, value, known in (("--split", split, _SPLITS), ("--engine", engine, _ENGINES)):
        if value not in known:
            raise ValueError(f"{option} must be {' or '.join(known)}, got {value!r}")
    options = {"split": split, "engine": engine, "images": images, "reporter": Terminal()}
    given = {"mean": _numbers("--mean", mean), "std": _numbers("--std", std)}
    found = (
        _of_folder(Path(model), data, options, given) if Path(model).is_dir() else _of_file(model, data, options, given)
    )
    if as_json:
        sys.stdout.write(json.dumps(_plain(found), indent=2) + "\n")
    else:
        _show(found)


def _numbers(option: str, text: str) -> tuple[float, ...] | None:
    try:
        return tuple(float(part) for part in text.split(",")) if text else None
    except ValueError:
        raise ValueError(f"{option} must be a number, or one for each channel: 0.48,0.46,0.41, got {text!r}") from None


def _of_file(model: str, data: str | None, options: dict[str, Any], given: dict[str, Any]) -> Evaluation:
    if data is None:
        raise ValueError(f"{model}: a file does not say what it was trained on: name --data")
    from sapool.workflows.evaluate import evaluate_model

    return evaluate_model(model, data, **given, **options)


def _of_folder(folder: Path, data: str | None, options: dict[str, Any], given: dict[str, Any]) -> Evaluation:
    if any(given.values()):
        raise ValueError(f"{folder} knows its own --mean and --std: leave them out")
    from sapool.workflows.evaluate import evaluate_run

    return evaluate_run(folder, data, **options)


def _plain(found: Evaluation) -> dict[str, Any]:
    counted = {name: getattr(found, name) for name in ("images", "accuracy", "interval", "guessing")}
    return asdict(found) | counted | {"recalls": found.recalls(), "precisions": found.precisions()}


def _show(found: Evaluation) -> None:
    low, high = found.interval
    lines = [
        f"int8 accuracy {found.accuracy:.1%} (95 % interval {low:.1%} to {high:.1%}) on {found.images:,} images of "
        f"{found.data}, {found.split}, by {found.engine}"
    ]
    if found.float_accuracy is not None and found.agreement is not None:
        lines.append(f"float accuracy {found.float_accuracy:.1%}; both answer alike on {found.agreement:.1%}")
    if found.guessing:
        lines.append("this is no better than guessing: always naming the largest class would do as well")
    lines.append(f"one inference takes {found.milliseconds:.2f} ms on this machine (LiteRT, one thread)")
    sys.stdout.write("\n".join(lines) + "\n")
    print_table(_classes(found))
    if len(found.classes) <= _MATRIX:
        print_table(_matrix(found))


def _classes(found: Evaluation) -> Table:
    table = Table(title="each class")
    for name in ("class", "images", "found (recall)", "right when named (precision)"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for row, name, recall, precision in zip(
        found.confusion, found.classes, found.recalls(), found.precisions(), strict=True
    ):
        table.add_row(name, f"{sum(row):,}", _percent(recall), _percent(precision))
    return table


def _matrix(found: Evaluation) -> Table:
    table = Table(title="rows: what it is; columns: what was answered")
    table.add_column("")
    for place in range(len(found.classes)):
        table.add_column(str(place), justify="right")
    for place, (row, name) in enumerate(zip(found.confusion, found.classes, strict=True)):
        table.add_row(f"{place} {name}", *(f"{count:,}" if count else "." for count in row))
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
