"""What a comparison found: a row a pooling, two tables, notes."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sapool.base.records import RunRecord
from sapool.report.comparison import Comparison, PoolingRow, rank
from sapool.report.statistics import LEAST_SEEDS, estimate
from sapool.workflows.compare.config import CompareConfig, Variant
from sapool.workflows.compare.planning import Planned


@dataclass(frozen=True)
class Run:
    """One finished run: its record and where that lies, or why there is none."""

    record: RunRecord | None
    path: str
    reason: str


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
        tables[table] = rank(rows)
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
