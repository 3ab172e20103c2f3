"""The authors' logged STL10 results, and a user's beside them.

The figures are read off the training logs in the published repository of the paper's authors (Chen et al., WACV 2023).
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path

from sapool.base.reading import parse_record
from sapool.report.comparison import Comparison, PoolingRow
from sapool.report.tables import join_strides, percent, show_estimate
from sapool.workflows.running import read_held

CAVEATS = (
    "The authors' results: one run each (seed 0), float32; 'best epoch' was chosen on the test set, there was no "
    "validation split; 'last epoch' was not chosen, and is the fairer figure.",
    "They contain no average-pooling run, so they cannot say what learned weights are worth. Their 'lip' is a 1x1 "
    "form, not its paper's; their strides do not count the stem.",
    "Yours: epoch chosen on validation, test used once; mean with its 95 % interval from three seeds on.",
)
HEADINGS = ("whose", "network", "side", "pooling", "strides", "runs", "test", "best epoch on test")


@dataclass(frozen=True)
class AuthorsResult:
    """One of the authors' runs; accuracies are fractions of STL10's test split.

    Attributes:
        network: the backbone, with what pools its stem, if anything.
        side: of the image, in pixels.
        pool: their token for the pooling (``skip``: strided convolution, ``nlp``: self-attentive).
        strides: a digit a stage.
        epochs: how many.
        best_test: the best epoch's accuracy, chosen on the test split.
        final_test: the last epoch's.
    """

    network: str
    side: int
    pool: str
    strides: str
    epochs: int
    best_test: float
    final_test: float


def authors_results() -> list[AuthorsResult]:
    """Return all of the authors' STL10 runs."""
    text = resources.files(__package__).joinpath("authors_stl10_results.csv").read_text()
    return [_read(row) for row in csv.DictReader(text.splitlines())]


def _read(row: dict[str, str]) -> AuthorsResult:
    stem = f"prepool-{row['prepool']}-{row['prepool_stride']}-" if row["prepool"] else ""
    best, final = float(row["best_test_acc"]), float(row["final_test_acc"])
    side, epochs = int(row["image_size"]), int(row["epochs_run"])
    return AuthorsResult(stem + row["backbone"], side, row["pool"], row["strides"], epochs, best, final)


def beside_authors(folders: Sequence[str | Path] = ()) -> list[list[str]]:
    """Return rows of :data:`HEADINGS`: those of ``sapool compare`` on STL10 first, then the authors'.

    Args:
        folders: results of ``sapool compare --data stl10:...``; none shows the authors' alone.

    Raises:
        ValueError: a folder without a comparison, or one of other data.
    """
    ours = [row for folder in folders for row in _own_rows(Path(folder))]
    theirs = [
        ["authors", run.network, str(run.side), run.pool, run.strides, "1", percent(run.final_test),
         percent(run.best_test)]
        for run in sorted(authors_results(), key=lambda run: (run.side, run.network, run.strides, -run.final_test))
    ]  # fmt: skip
    return ours + theirs


def _own_rows(folder: Path) -> list[list[str]]:
    path = folder / "compare.json"
    if not path.is_file():
        raise ValueError(f"{folder} holds no compare.json: name a folder of sapool compare")
    held = read_held(path, partial(parse_record, Comparison))
    data = str(held.config.get("data"))
    if "stl10" not in data.lower():
        raise ValueError(f"{folder} holds results on {data}: only STL10 can stand beside the authors'")
    shown = {row.records: row for rows in held.tables.values() for row in rows if row.records}
    return [_own_row(str(held.config.get("model")), row) for row in shown.values()]


def _own_row(model: str, row: PoolingRow) -> list[str]:
    said = show_estimate(row.mean)
    strides = join_strides(row.strides)
    return ["yours", model, str(row.side), row.label, strides, str(len(row.seeds)), f"{said} int8", "-"]
