"""What a comparison found: a row a pooling, two tables, notes."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sapool.base.records import PoolingPlan, RunRecord
from sapool.workflows.compare.config import CompareConfig, Variant
from sapool.workflows.compare.planning import Planned
from sapool.workflows.compare.statistics import LEAST_SEEDS, Estimate, PairedDifference, compare_paired, estimate


@dataclass(frozen=True)
class Run:
    """One finished run: its record and where that lies, or why there is none."""

    record: RunRecord | None
    path: str
    reason: str


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


def make_comparison(
    config: CompareConfig,
    folder: Path,
    environment: dict[str, str],
    planned: Mapping[str, Planned],
    runs: Mapping[tuple[str, str], Mapping[int, Run]],
    notes: Sequence[str],
    no_equal: str,
) -> Comparison:
    """Build both tables from the finished runs; ``no_equal`` says why there is no second one."""
    tables: dict[str, tuple[PoolingRow, ...]] = {}
    for table in config.tables:
        rows = [
            _row(variant, planned.get(variant.label), runs.get((table, variant.label)), no_equal)
            for variant in config.all_variants()
        ]
        tables[table] = _ranked(rows)
    said = list(notes)
    if len(config.seed_list()) < LEAST_SEEDS:
        said.append(f"{_count(len(config.seed_list()))}: not evidence. Say --seeds {LEAST_SEEDS} or more.")
    return Comparison(
        json.loads(json.dumps(asdict(config), default=str)), environment, str(folder), tables, tuple(said)
    )


def _count(seeds: int) -> str:
    return f"{seeds} seed" if seeds == 1 else f"{seeds} seeds"


def _row(variant: Variant, planned: Planned | None, runs: Mapping[int, Run] | None, no_equal: str) -> PoolingRow:
    kwargs = json.loads(json.dumps(dict(variant.kwargs), default=str))
    if not runs:
        reason = planned.reason if planned is not None and planned.reason else no_equal or "not run yet"
        return PoolingRow(variant.label, variant.pool, kwargs, None, (), None, reasons=(reason,))
    done = {seed: run for seed, run in runs.items() if run.record is not None}
    records = [run.record for run in done.values() if run.record is not None]
    reasons = tuple(run.reason for run in runs.values() if run.record is None)
    if not records:
        return PoolingRow(variant.label, variant.pool, kwargs, None, (), None, reasons=reasons)
    plan, accuracies = records[0].plan, tuple(record.int8_test_accuracy or 0.0 for record in records)
    over = tuple(
        f"seed {seed}: does not fit, arena {record.arena_bytes:,} bytes"
        for seed, record in zip(done, records, strict=True)
        if not record.fits
    )
    return PoolingRow(
        label=variant.label,
        pool=variant.pool,
        kwargs=kwargs,
        plan=plan,
        strides=plan.strides,
        side=plan.input_size[1],
        seeds=tuple(done),
        int8_test=accuracies,
        float_test=tuple(record.float_test_accuracy or 0.0 for record in records),
        int8_val=tuple(record.int8_val_accuracy or 0.0 for record in records),
        mean=estimate(accuracies),
        fits=not over and not reasons,
        arena_bytes=max(record.arena_bytes for record in records),
        total_bytes=max(record.total_bytes for record in records),
        head_bytes=max(record.head_bytes for record in records),
        tail_bytes=max(record.tail_bytes for record in records),
        flash_bytes=max(record.flash_bytes for record in records),
        macs=records[0].macs,
        latency_ms=statistics.median(record.latency_ms or 0.0 for record in records),
        latency_device=", ".join(sorted({record.latency_device for record in records})),
        parameters=records[0].parameters,
        records=tuple(run.path for run in done.values()),
        reasons=(*reasons, *over),
    )


def _ranked(rows: Sequence[PoolingRow]) -> tuple[PoolingRow, ...]:
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
        return PoolingRow(**{**_fields(row), "against": paired})
    return row


def _fields(row: PoolingRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__dataclass_fields__}
