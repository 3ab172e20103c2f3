"""``sapool data list`` and ``sapool data check``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from sapool.cli.console import DONE, MISTAKE, AsJson, Terminal, print_table

if TYPE_CHECKING:
    from sapool.training.data import Survey

_SHOWN_BAD = 20
_SHOWN_SIZES = 3

data = typer.Typer(
    help="Show which data sets can be used, and check one.", no_args_is_help=True, rich_markup_mode="rich"
)


@data.command("list")
def list_data(as_json: AsJson = False) -> None:
    """Show the data sets by name: what each expects on disk, and where it is looked for.

    Example: sapool data list
    """
    from sapool.training.data import FORMATS

    rows = [
        {"name": name, "what": known.what, "expected on disk": known.layout, "looked for": known.looked_for}
        for name, known in FORMATS.items()
    ]
    if as_json:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
        return
    table = Table(title="data sets: NAME, NAME:DIR, or DIR (its format is recognised)", show_lines=True)
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row.values())
    print_table(table)


@data.command("check")
def check(
    source: Annotated[str, typer.Argument(help="NAME, NAME:DIR or DIR, see sapool data list.")],
    as_json: AsJson = False,
) -> int:
    """Read every image of a data set: splits, classes, image sizes, damaged files, images that two splits share.

    Exit code 2 if anything is damaged or shared.

    Example: sapool data check folder:photos
    """
    from sapool.training.data import prepared_splits, read_source, survey

    name, found = read_source(source, skip_bad=True)
    splits = prepared_splits(name, found, train_images=None, skip_bad=False)
    terminal = Terminal()
    terminal.start(f"reading {source}", sum(len(images) for images in splits.splits.values()))

    def tick(count: int) -> None:
        for _ in range(count):
            terminal.advance()

    surveys = {split: survey(images, tick) for split, images in splits.splits.items()}
    terminal.finish()
    report = _report(name, splits, surveys)
    if as_json:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        _show(report)
    damaged = report["shared"] or any(row["skipped_records"] or row["bad"] for row in report["splits"])
    return MISTAKE if damaged else DONE


def _report(name: str, source: Any, surveys: dict[str, Survey]) -> dict[str, Any]:
    import numpy as np

    rows = []
    for split, found in surveys.items():
        counts = np.bincount(source.splits[split].labels, minlength=len(source.classes))
        rows.append(
            {
                "split": split,
                "images": len(source.splits[split]),
                "fewest_of_a_class": int(counts.min()),
                "most_of_a_class": int(counts.max()),
                "sizes": {"x".join(map(str, size)): count for size, count in found.sizes.most_common()},
                "bad": sorted(found.bad.values()),
                "skipped_records": source.skipped.get(split, 0),
            }
        )
    shared = {}
    for one, two in (("train", "val"), ("train", "test"), ("val", "test")):
        if both := len(surveys[one].digests & surveys[two].digests):
            shared[f"{one} and {two}"] = both
    return {"format": name, "classes": list(source.classes), "splits": rows, "shared": shared}


def _show(report: dict[str, Any]) -> None:
    table = Table(title=f"{report['format']}: {len(report['classes'])} classes")
    for column in ("split", "images", "images a class", "sizes (channels x rows x columns)", "damaged"):
        table.add_column(column, justify="right" if column in ("images", "damaged") else "left")
    for row in report["splits"]:
        sizes = [f"{size}: {count:,}" for size, count in list(row["sizes"].items())[:_SHOWN_SIZES]]
        more = [f"{len(row['sizes']) - _SHOWN_SIZES} more"] if len(row["sizes"]) > _SHOWN_SIZES else []
        few, many = row["fewest_of_a_class"], row["most_of_a_class"]
        damaged = len(row["bad"]) + row["skipped_records"]
        spread = f"{few:,}" if few == many else f"{few:,} to {many:,}"
        table.add_row(row["split"], f"{row['images']:,}", spread, ", ".join([*sizes, *more]), f"{damaged:,}")
    print_table(table)
    terminal = Terminal()
    for said in [reason for row in report["splits"] for reason in row["bad"]][:_SHOWN_BAD]:
        terminal.stage(said)
    for which, count in report["shared"].items():
        terminal.stage(f"{count:,} images are the same, pixel by pixel, in {which}")
