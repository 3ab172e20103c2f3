"""Write the headline's page, ``README.md``, from what lies beside it; ``--check`` says whether it is up to date."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import definitions
import front
import savings

from sapool.report.tables import show_estimate
from sapool.workflows.compare import estimate

HERE = Path(__file__).parent
PAGE, RECORDS = HERE / "README.md", HERE / "records"
Row = dict[str, Any]

INTRODUCTION = """# Twenty-two times less memory, measured

Written by `page.py` from what `run.py`, `savings.py` and `front.py` left here; each goes on where it stopped, and never
does a finished run again. Bytes are those of TensorFlow Lite Micro's arena, as its recording allocator prints them
(head: activations and scratch). "Without image" is the head planned anew, by our planner, with the image's own tensor
({image:,} bytes) at zero: a paper's convention, not what the interpreter takes.

The network is stock `{model}`, its input {size} x {size} from first to last. Channels go before training (their
importance is then chance: it is a narrower network), and all weights are trained from scratch: {epochs} epochs of
{train:,} images of `{data}`, real handwritten digits of 8 x 8 pixels enlarged to the canvas; validated and tested on
{images:,}. A digit of 24 px on the same canvas (scattered-digits) is a hundredth of it: in the epochs that one core can
afford, self-attentive pooling did not leave chance there. Tiles may add {tiles:.0%} of multiply-accumulates; that is in
the column."""


def table(headings: list[str], rows: list[list[str]]) -> list[str]:
    rule = [":--"] + ["--:"] * (len(headings) - 1)
    return ["| " + " | ".join(cells) + " |" for cells in (headings, rule, *rows)]


def load(path: Path) -> Any:
    return json.loads(path.read_text()) if path.is_file() else None


def runs() -> dict[str, list[Row]]:
    """Return the finished runs of each network, by seed."""
    found: dict[str, list[Row]] = {}
    for path in sorted(RECORDS.glob("*.json")):
        record = load(path)
        found.setdefault(record["name"], []).append(record)
    return {name: found[name] for name in definitions.NETWORKS if name in found}


def stock_heads() -> dict[str, int]:
    """Return the measured heads of the stock network: both denominators."""
    held = load(savings.PATH)
    steps = held["steps"] if held else {}
    return {name: steps[name]["head_bytes"] for name in list(savings.STEPS)[:2] if name in steps}


def accuracies() -> list[str]:
    found = runs()
    if not found:
        return ["No network is trained yet."]
    heads = stock_heads()
    headings = ["", "without image", *(f"times less than {name}" for name in heads), "head", "total", "file", "MACs"]
    headings += ["seeds", "float test", "int8 test"]
    return table(headings, [_cells(name, rows, heads) for name, rows in found.items()])


def _cells(name: str, rows: list[Row], heads: dict[str, int]) -> list[str]:
    first = rows[0]
    free = first["head_without_image_bytes"]
    return [
        name,
        f"{free:,}",
        *(f"{head / free:.1f}" for head in heads.values()),
        *(f"{first[key]:,}" for key in ("head_bytes", "total_bytes", "flash_bytes", "macs")),
        str(len(rows)),
        *(show_estimate(estimate([row[key] for row in rows])) for key in ("float_test_accuracy", "int8_test_accuracy")),
    ]


def budgets() -> list[str]:
    """Say what 22 times less is of either denominator."""
    heads = stock_heads()
    if not heads:
        return []
    said = "; ".join(f"{name}: {head:,}, so {head // definitions.TIMES:,}" for name, head in heads.items())
    plain = f"The plain head, image included, is to be at most {definitions.HEAD_BYTES:,}."
    return [f"Head of the stock network, and {definitions.TIMES} times less: {said}. {plain}", ""]


def split() -> list[str]:
    held = load(savings.PATH)
    if held is None:
        return []
    steps = held["steps"]
    headings = ["", "head", "tail", "total", "without image", "file", "MACs"]
    keys = ("head_bytes", "tail_bytes", "total_bytes", "head_without_image_bytes", "flash_bytes", "macs")
    rows = [[name, *(f"{steps[name][key]:,}" for key in keys)] for name in savings.STEPS if name in steps]
    how = (
        "Each line with a plus contains all before it; behind them, the whole without one of them. Nothing is trained."
    )
    return ["## How the saving splits", "", how, "", *table(headings, rows), ""]


def arenas() -> list[str]:
    held = load(front.DATA)
    if held is None:
        return []
    found, base = front.points_of(held), front.BASE
    rows = [[label, *(_at(points, kib * front.KIB) for kib in front.BUDGETS)] for label, points in found.items()]
    best = [
        front.best_within([p for points in found.values() for p in points], kib * front.KIB) for kib in front.BUDGETS
    ]
    rows.append(["chosen on validation", *("-" if point is None else point["label"] for point in best)])
    networks = [
        [
            label,
            front.named(point["strides"]),
            f"{point['total_bytes']:,}",
            f"{point['macs']:,}",
            str(len(point["seeds"])),
        ]
        + [show_estimate(estimate(point[key])) for key in ("float_test", "int8_test")]
        for label, points in found.items()
        for point in points
    ]
    how = (
        f"`{base.model}` on {base.data} at {base.input_size} px, {base.recipe.epochs} epochs; its strides decide its "
        "arena. int8 accuracy on test at each budget, of the strides that fit and are best on validation; points and "
        "steps in the figure are the same networks, and what is reached from an arena on."
    )
    headings = ["pooling", *(f"{kib} KiB" for kib in front.BUDGETS)]
    said = ["## Accuracy against arena", "", how, "", f"![{front.FIGURE.stem}]({front.FIGURE.name})", ""]
    every = table(["pooling", "strides", "arena", "MACs", "seeds", "float test", "int8 test"], networks)
    return [*said, *table(headings, rows), "", *every, ""]


def _at(points: list[Row], ram_bytes: int) -> str:
    point = front.best_within(points, ram_bytes)
    return "-" if point is None else f"{show_estimate(estimate(point['int8_test']))} ({front.named(point['strides'])})"


def page() -> str:
    head = INTRODUCTION.format(
        image=3 * definitions.SIZE**2,
        model=definitions.MODEL.partition(":")[2],
        size=definitions.SIZE,
        epochs=definitions.RECIPE.epochs,
        train=definitions.TRAIN_IMAGES,
        data=definitions.DATA,
        images=definitions.EVAL_IMAGES,
        tiles=definitions.MOST_EXTRA_MACS,
    )
    return "\n".join([head, "", *budgets(), *accuracies(), "", *split(), *arenas()]).rstrip("\n") + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        PAGE.write_text(page())
    elif PAGE.read_text() != page():
        sys.exit(f"{PAGE} is not what its records say: run python {__file__}")


if __name__ == "__main__":
    main()
