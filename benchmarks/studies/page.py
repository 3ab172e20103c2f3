"""Write the studies' page, ``README.md``, from what ``records/`` holds; ``--check`` says whether it is up to date.

``figure.py`` draws what it shows.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import definitions
import records

from sapool.report.tables import show_difference, show_estimate, show_p
from sapool.workflows.compare import Estimate, compare_paired, estimate

PAGE = Path(__file__).parent / "README.md"
Row = dict[str, Any]

INTRODUCTION = """# Which pooling, when, and what each choice of the layer is worth

Written by `page.py` from `records/`, which hold every run; `python benchmarks/studies/run.py NAME --seeds 3` adds runs
and never repeats one. Accuracies are of the int8 model on test images, mean over seeds with its 95 % t-interval; the
epoch, and the plan where there are several, are chosen on validation. RAM is the measured total of TensorFlow Lite
Micro's arena. Differences are paired by seed; p-values (paired t-test, two-sided) are not corrected for the number of
rows.

scattered-digits: one whole digit among {fragments} fragments of others, 64 px; scattered Fashion-MNIST: the same canvas
with its images, {canvases:,} training images; Fashion-MNIST at 32 px with {fashion:,} training images. On a canvas of
128 px 76 KiB is chosen in our favour, before any accuracy was known: the one whole KiB at which average pooling loses
its latest strides and both self-attentive forms keep the next ones, so that all shrink their maps alike.
The network is `{model}`, {epochs} epochs, validated and tested on {images:,} images (int8 on {int8:,} of them)."""


def table(headings: list[str], rows: list[list[str]]) -> list[str]:
    rule = [":--"] + ["--:"] * (len(headings) - 1)
    return ["| " + " | ".join(cells) + " |" for cells in (headings, rule, *rows)]


def load(name: str) -> dict[str, Any] | None:
    path = records.HERE / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def rows_of(name: str, kind: str = "budget") -> list[Row]:
    data = load(name)
    return [] if data is None else list(data["tables"][kind])


def count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def mean_of(row: Row) -> Estimate | None:
    return estimate(row["int8_test"]) if row["int8_test"] else None


def against(row: Row, rival: Row | None) -> tuple[str, str]:
    """Return the paired difference to a rival and its p-value, as text."""
    shared = [] if rival is None else [seed for seed in row["seeds"] if seed in rival["seeds"]]
    if rival is None or not shared:
        return "-", "-"
    ours, theirs = (dict(zip(r["seeds"], r["int8_test"], strict=True)) for r in (row, rival))
    found = compare_paired([ours[s] for s in shared], [theirs[s] for s in shared], rival["label"])
    return show_difference(found), show_p(found.p_value)


def cells(row: Row, rival: Row | None) -> list[str]:
    return [
        row["label"],
        ",".join(map(str, row["strides"])) or "-",
        count(row["total_bytes"]),
        count(row["macs"]),
        str(len(row["seeds"])),
        show_estimate(mean_of(row)),
        *against(row, rival),
    ]


HEADINGS = ["pooling", "strides", "arena", "MACs", "seeds", "int8 test", "difference", "p"]


def is_ours(row: Row) -> bool:
    return row["pool"] == "self_attentive"


def best(rows: list[Row], split: str = "int8_test") -> Row | None:
    able = [row for row in rows if row["fits"] and row["int8_test"]]
    return max(able, key=lambda row: sum(row[split]) / len(row[split]), default=None)


def winners() -> list[str]:
    said = ["## Which pooling wins at equal measured RAM", "", "![means and intervals](winners.svg)", ""]
    for name, study in definitions.STUDIES.items():
        rows = rows_of(name) if name.startswith("winner-") else []
        if not rows:
            continue
        rival = best([row for row in rows if not is_ours(row)])
        # Ours must not be picked on test; the rival is, which only makes it harder to beat.
        ours = best([row for row in rows if is_ours(row)], "int8_val")
        # Rows with more seeds than the comparison had are not where it sorted them.
        ranked = sorted(rows, key=lambda row: -mean.mean if (mean := mean_of(row)) else 0.0)
        body = [cells(row, None if row is rival else rival) for row in ranked]
        said += [f"### {study.place}", "", *table(HEADINGS, body), ""]
        if rival is not None and ours is not None:
            found = " (p ".join(against(ours, rival))
            said += [
                f"The self-attentive form that validation chooses ({ours['label']}) against the best rival: {found}).",
                "",
            ]
        said += [f"- {row['label']}: {reason}" for row in rows for reason in row["reasons"]]
        said += [""]
    return said


def when() -> list[str]:
    how = (
        "The same strides for all (2,2,2,2 unless said), so the arena differs; one thing changed at a time. The last\n"
        "rows are self_attentive's paired difference to avg, and the seeds."
    )
    said = ["## When", "", how, "", "![one thing changed at a time](when.svg)", ""]
    start = len(said)
    for axis, places in definitions.AXES.items():
        found = {place: rows_of(definitions.when_of(config)) for place, config in places.items()}
        labels = [row["label"] for row in next((rows for rows in found.values() if rows), [])]
        body = [[label, *(_at(rows, label) for rows in found.values())] for label in labels]
        body += [["difference", *map(_ahead, found.values())], ["seeds", *map(_seeds, found.values())]]
        if sum(bool(rows) for rows in found.values()) > 1:
            said += [f"### {axis}", "", *table(["pooling", *found], body), ""]
    return said if len(said) > start else []


def _at(rows: list[Row], label: str) -> str:
    row = _row(rows, label)
    return "-" if row is None else show_estimate(mean_of(row))


def _row(rows: list[Row], label: str) -> Row | None:
    return next((row for row in rows if row["label"] == label), None)


def _ahead(rows: list[Row]) -> str:
    ours, average = _row(rows, "self_attentive"), _row(rows, "avg")
    return "-" if ours is None else against(ours, average)[0].removesuffix(" vs avg")


def _seeds(rows: list[Row]) -> str:
    return str(min((len(row["seeds"]) for row in rows), default=0))


def choices() -> list[str]:
    said = ["## What each choice of the self-attentive layer is worth", ""]
    for name, study in definitions.STUDIES.items():
        rows = rows_of(name) if name.startswith("choices") else []
        default = _row(rows, "self_attentive")
        if rows:
            body = [cells(row, None if row is default else default) for row in rows]
            said += [f"### {study.place}", "", *table(HEADINGS, body), ""]
    return said


def page() -> str:
    base = definitions.BASE
    head = INTRODUCTION.format(
        fragments=base.fragments,
        model=base.model,
        epochs=base.recipe.epochs,
        images=base.eval_images,
        int8=base.int8_images,
        canvases=definitions.DATA["scattered-fashion"].train_images,
        fashion=definitions.DATA["fashion"].train_images,
    )
    found = (
        [*winners(), *when(), *choices()]
        if any(load(name) for name in definitions.STUDIES)
        else ["No study is finished yet."]
    )
    return "\n".join([head, "", *found]).rstrip("\n") + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        PAGE.write_text(page())
    elif PAGE.read_text() != page():
        sys.exit(f"{PAGE} is not what its records say: run python {__file__}")


if __name__ == "__main__":
    main()
