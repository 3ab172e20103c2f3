"""What a comparison of detectors found: a row a pooling, and its table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sapool.base.budget import Budget, Needs
from sapool.base.records import PoolingPlan
from sapool.report.statistics import Estimate, PairedDifference, compare_paired, estimate
from sapool.report.tables import join_strides, show_difference, show_estimate, show_p

HEADINGS = (
    "pooling", "strides", "seeds", "AP50", "AP", "AP50 against best other", "p", "backbone's arena", "parameters",
    "fits",
)  # fmt: skip


@dataclass(frozen=True)
class DetectorRow:
    """One pooling; bytes are of the backbone's measured arena, precisions fractions, one value a seed.

    Attributes:
        pool: the pooling.
        strides: of every site, or empty where no plan fits.
        seeds: those whose runs are in.
        ap: AP on test.
        ap50: AP50 on test.
        arena_bytes: the arena that the budget is for, largest over the runs.
        total_bytes: its head and tail.
        parameters: of the whole detector.
        fits: whether every run's backbone keeps the budget.
        mean: of AP50, with its interval.
        mean_ap: of AP.
        against: paired difference of AP50 to the best other pooling.
        reasons: why runs, or all of it, are missing.
    """

    pool: str
    strides: tuple[int, ...]
    seeds: tuple[int, ...] = ()
    ap: tuple[float, ...] = ()
    ap50: tuple[float, ...] = ()
    arena_bytes: int | None = None
    total_bytes: int | None = None
    parameters: int | None = None
    fits: bool = False
    mean: Estimate | None = None
    mean_ap: Estimate | None = None
    against: PairedDifference | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class DetectorComparison:
    """What a comparison found."""

    config: dict[str, Any]
    folder: str
    rows: tuple[DetectorRow, ...]

    def to_json(self) -> str:
        """Return it as JSON text."""
        return json.dumps(asdict(self), indent=2)


def row_of(pool: str, finished: Mapping[str, Mapping[str, Any]], seeds: int, budget: Budget) -> DetectorRow:
    """Return one pooling's row from the outcomes of its jobs."""
    planned = finished.get(f"plan {pool}", {"plan": None, "reason": "not planned yet"})
    if planned["plan"] is None:
        return DetectorRow(pool, (), reasons=(planned["reason"],))
    strides = PoolingPlan.from_json(json.dumps(planned["plan"])).strides
    runs = {seed: finished[key] for seed in range(seeds) if (key := f"run {pool} {seed}") in finished}
    reasons = tuple(run["reason"] for run in runs.values() if run["reason"])
    done = {seed: run for seed, run in runs.items() if "ap50" in run}
    if not done:
        return DetectorRow(pool, strides, reasons=reasons)
    measured = [planned, *(run for run in done.values() if run.get("total_bytes"))]
    # Results of before the two were told apart hold the arena under the other name.
    arena = max(one.get("arena_bytes", one["total_bytes"]) for one in measured)
    ap, ap50 = (tuple(run[name] for run in done.values()) for name in ("ap", "ap50"))
    return DetectorRow(
        pool, strides, tuple(done), ap, ap50,
        arena_bytes=arena,
        total_bytes=max(one["total_bytes"] for one in measured),
        parameters=max(run["parameters"] for run in done.values()),
        fits=budget.fits(Needs(ram_bytes=arena)),
        mean=estimate(ap50),
        mean_ap=estimate(ap),
        reasons=reasons,
    )  # fmt: skip


def rank(rows: Iterable[DetectorRow]) -> tuple[DetectorRow, ...]:
    """Return the rows, the highest AP50 first, each set against the best other one."""
    ordered = sorted(rows, key=lambda row: (not row.fits, -(row.mean.mean if row.mean else -1.0)))
    return tuple(replace(row, against=_against(row, ordered)) for row in ordered)


def _against(row: DetectorRow, ordered: Sequence[DetectorRow]) -> PairedDifference | None:
    rival = next((other for other in ordered if other.pool != row.pool and other.mean), None)
    shared = [seed for seed in row.seeds if rival and seed in rival.seeds]
    if rival is None or not shared:
        return None
    ours, theirs = (dict(zip(r.seeds, r.ap50, strict=True)) for r in (row, rival))
    return compare_paired([ours[s] for s in shared], [theirs[s] for s in shared], rival.pool)


def cells(row: DetectorRow) -> list[str]:
    """Return a row's texts, one for each of :data:`HEADINGS`."""
    return [
        row.pool,
        join_strides(row.strides) or "-",
        str(len(row.seeds)),
        show_estimate(row.mean),
        show_estimate(row.mean_ap),
        show_difference(row.against),
        show_p(row.against.p_value if row.against else None),
        *("-" if count is None else f"{count:,}" for count in (row.arena_bytes, row.parameters)),
        "yes" if row.fits else "no",
    ]


def markdown(comparison: DetectorComparison) -> str:
    """Return the comparison as a Markdown page."""
    config = comparison.config
    budget = Budget.of_config(config).in_bytes()
    title = f"# {config['recipe']['detector']} on {config['model']}, {config['data']}, {budget} for the backbone"
    rule = [":--" if name in ("pooling", "strides") else "--:" for name in HEADINGS]
    lines = ["| " + " | ".join(texts) + " |" for texts in (HEADINGS, rule, *map(cells, comparison.rows))]
    notes = [f"- {row.pool}: {reason}" for row in comparison.rows for reason in row.reasons]
    return "\n".join([title, "", *lines, "", *notes, *EXPLANATION, ""])


EXPLANATION = (
    "AP50 and AP on test, mean over seeds with the 95 % t-interval; the epoch is chosen by AP on validation. "
    "Differences are paired by seed, in percentage points, p by the paired t-test (two-sided, not corrected for "
    "several tests). The arena is TensorFlow Lite Micro's for the int8 backbone, its maps joined; the heads "
    "are not in it.",
)
