"""``sapool data make``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from sapool.base.image_size import MOST_PIXELS
from sapool.base.ranges import MOST_SEED, check_range
from sapool.base.suggest import suggest
from sapool.cli.console import AsJson, Terminal, check_folder

_FORMATS = ("coco",)
_EVALUATED_SHARE = 5  # one validation and one test image for so many training images


def make(
    name: Annotated[str, typer.Argument(help="Data to draw: scattered-digits.")],
    out: Annotated[Path, typer.Option(help="Folder to write into; made if it is missing.")],
    format_: Annotated[str, typer.Option("--format", help="coco: images with boxes, as COCO folders have.")] = "coco",
    images: Annotated[int, typer.Option(help="Training images; a fifth as many for validation, and for test.")] = 1000,
    input_size: Annotated[int, typer.Option(help="Side of the square images, in pixels, at least 40.")] = 128,
    seed: Annotated[int, typer.Option(help="Of places, sizes and fragments; never of the splits.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Write drawn data as files that any other tool can read.

    Example: sapool data make scattered-digits --format coco --out digits
    """
    from sapool.detection import BOX_DATA_SETS, ScatteredBoxes, write_coco

    if name not in BOX_DATA_SETS:
        raise ValueError(f"unknown data set {name!r}: {suggest(name, BOX_DATA_SETS)}")
    if format_ not in _FORMATS:
        raise ValueError(f"unknown format {format_!r}: {suggest(format_, _FORMATS)}")
    check_folder(out)
    check_range("--images", images, 1, 10**6)
    check_range("--input-size", input_size, 1, MOST_PIXELS)
    check_range("--seed", seed, 0, MOST_SEED)
    evaluated = max(1, images // _EVALUATED_SHARE)
    counts = {"train": images, "val": evaluated, "test": evaluated}
    drawn = {split: ScatteredBoxes(split, input_size, count, seed=seed) for split, count in counts.items()}
    there = [out / "annotations" / f"instances_{split}.json" for split in counts]
    for path in there:  # before the first is written
        if path.exists():
            raise ValueError(f"{path} exists: choose another folder, or remove it first")
    terminal = Terminal()
    for split, data in drawn.items():
        write_coco(data, out, split)
        terminal.stage(f"wrote {len(data):,} images of {split} to {out / split}")
    if as_json:
        report = {"folder": str(out), "format": format_, "images": counts, "annotations": [str(path) for path in there]}
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
