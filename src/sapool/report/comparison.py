"""What a comparison found: a row a pooling, two tables, notes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sapool.base.records import PoolingPlan
from sapool.report.statistics import Estimate, PairedDifference, compare_paired


@dataclass(frozen=True)
class PoolingRow:
    """One pooling in one table; bytes are of the measured arena, accuracies fractions, a value a seed.

    Attributes:
        label: what it is called.
        pool: the layer.
        kwargs: the keywords that were asked for.
        plan: its plan, or None where none fits.
        strides: reduction of every site.
        side: of the input image, in pixels.
        seeds: those whose runs are in.
        int8_test: accuracy of the int8 model on test: the headline.
        float_test: of the float network on test.
        int8_val: of the int8 model on validation.
        mean: the headline's mean and interval, or None without a run.
        against: the paired difference to the best other pooling, or None.
        fits: whether every run's arena and file keep the budgets.
        arena_bytes: the arena that the budget is for, largest over the runs.
        total_bytes: its head and tail.
        head_bytes: its activations and scratch.
        tail_bytes: its persistent data.
        flash_bytes: the file.
        macs: multiply-accumulates of one inference.
        latency_ms: time of one inference on LiteRT, median over the runs.
        latency_device: the processor it was measured on.
        parameters: of the float network.
        records: the runs' record files.
        reasons: why runs, or all of it, are missing: does not fit, can't be exported, diverged.
    """

    label: str
    pool: str
    kwargs: dict[str, Any]
    plan: PoolingPlan | None
    strides: tuple[int, ...]
    side: int | None
    seeds: tuple[int, ...] = ()
    int8_test: tuple[float, ...] = ()
    float_test: tuple[float, ...] = ()
    int8_val: tuple[float, ...] = ()
    mean: Estimate | None = None
    against: PairedDifference | None = None
    fits: bool = False
    arena_bytes: int | None = None
    total_bytes: int | None = None
    head_bytes: int | None = None
    tail_bytes: int | None = None
    flash_bytes: int | None = None
    macs: int | None = None
    latency_ms: float | None = None
    latency_device: str = ""
    parameters: int | None = None
    records: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found: rows by falling mean int8 accuracy on test, those that fit first.

    Attributes:
        config: the whole configuration.
        environment: of the caller that gathered it; every record has its own.
        folder: where everything lies.
        tables: ``"budget"`` and ``"equal"``: their rows.
        notes: what a reader must know.
    """

    config: dict[str, Any]
    environment: dict[str, str]
    folder: str
    tables: dict[str, tuple[PoolingRow, ...]]
    notes: tuple[str, ...]

    @property
    def anything_fits(self) -> bool:
        """Whether a pooling has a model within the budgets."""
        return any(row.fits for rows in self.tables.values() for row in rows)

    def row(self, label: str, table: str = "budget") -> PoolingRow:
        """Return one pooling's row.

        Raises:
            KeyError: there is none.
        """
        found = {row.label: row for row in self.tables[table]}
        return found[label]

    def to_json(self) -> str:
        """Return the comparison as JSON text."""
        return json.dumps(asdict(self), indent=2)


def rank(rows: Sequence[PoolingRow]) -> tuple[PoolingRow, ...]:
    """Sort by falling mean, what fits first, and set every pooling beside the best other one that fits."""
    order = sorted(rows, key=lambda row: (not row.fits, -(row.mean.mean if row.mean else -1.0), row.label))
    return tuple(_with_rival(row, order) for row in order)


def _with_rival(row: PoolingRow, order: Sequence[PoolingRow]) -> PoolingRow:
    """Pair a pooling by seed with the best other one; another form of the same layer is no rival."""
    for rival in order:
        shared = [seed for seed in row.seeds if seed in rival.seeds]
        same = rival.pool == row.pool or rival.records == row.records
        if same or not rival.fits or not shared:
            continue
        ours, theirs = (dict(zip(r.seeds, r.int8_test, strict=True)) for r in (row, rival))
        paired = compare_paired([ours[s] for s in shared], [theirs[s] for s in shared], rival.label)
        return replace(row, against=paired)
    return row
