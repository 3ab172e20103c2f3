"""A comparison as tables: rows of text, Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sapool.base.budget import Budget
from sapool.report.comparison import Comparison, PoolingRow
from sapool.report.statistics import Estimate, PairedDifference

HEADINGS = (
    "pooling", "strides", "side", "seeds", "int8 test", "float test", "against best other", "p",
    "head", "tail", "arena", "MACs", "ms", "fits",
)  # fmt: skip
LEFT = ("pooling", "strides", "against best other")
TITLES = {
    "budget": "Same budget: strides, patch, heads and size are each pooling's own",
    "equal": "All equal but the pool: one set of strides and one input size",
}


def percent(value: float | None) -> str:
    """Return a fraction as ``81.3 %``."""
    return "-" if value is None else f"{value * 100:.1f} %"


def show_estimate(found: Estimate | None) -> str:
    """Return a mean and, from three seeds on, its 95 % interval: ``81.3 % [80.1, 82.5]``."""
    if found is None:
        return "-"
    if found.low is None or found.high is None:
        return percent(found.mean)
    return f"{percent(found.mean)} [{found.low * 100:.1f}, {found.high * 100:.1f}]"


def show_difference(found: PairedDifference | None) -> str:
    """Return a paired difference in percentage points and its interval: ``+1.2 [0.3, 2.1] vs avg``."""
    if found is None:
        return "-"
    interval = "" if found.low is None or found.high is None else f" [{found.low * 100:+.1f}, {found.high * 100:+.1f}]"
    return f"{found.mean * 100:+.1f}{interval} vs {found.rival}"


def show_p(value: float | None) -> str:
    """Return a p-value with three digits; a smaller one as ``<0.001``."""
    if value is None:
        return "-"
    return f"{value:.3f}" if value >= 0.001 else "<0.001"


def cells(row: PoolingRow) -> list[str]:
    """Return one pooling's row, a text for each of :data:`HEADINGS`."""
    floats = sum(row.float_test) / len(row.float_test) if row.float_test else None
    p_value = row.against.p_value if row.against else None
    counts = (row.head_bytes, row.tail_bytes, row.arena_bytes, row.macs)
    return [
        row.label,
        join_strides(row.strides) or "-",
        "-" if row.side is None else str(row.side),
        str(len(row.seeds)),
        show_estimate(row.mean),
        percent(floats),
        show_difference(row.against),
        show_p(p_value),
        *("-" if count is None else f"{count:,}" for count in counts),
        "-" if row.latency_ms is None else f"{row.latency_ms:.2f}",
        "yes" if row.fits else "no",
    ]


def remarks(rows: Sequence[PoolingRow]) -> list[str]:
    """Return why poolings or runs are missing, a line each."""
    return [f"{row.label}: {reason}" for row in rows for reason in row.reasons]


def explanation(comparison: Comparison) -> list[str]:
    """Return what the columns mean, and the notes."""
    rows = [row for table in comparison.tables.values() for row in table]
    devices = ", ".join(sorted({row.latency_device for row in rows if row.latency_device}))
    lines = [
        "int8 test: mean accuracy on the test split with its 95 % t-interval over seeds; epoch and plan chosen on "
        "validation. Against best other: paired by seed, in percentage points, p by the paired t-test (two-sided, not "
        "corrected for several tests). Head, tail, arena: bytes on TensorFlow Lite Micro, measured; the arena, "
        "which the budget is for, also holds what planning needs."
    ]
    if devices:
        lines.append(f"ms: one inference on LiteRT, one thread, median; on {devices}.")
    return [*lines, *comparison.notes]


def markdown(comparison: Comparison) -> str:
    """Return the whole comparison as a Markdown page."""
    config = comparison.config
    budget = Budget.of_config(config).in_bytes()
    parts = [f"# {config['model']} on {config['data']}, {budget}", ""]
    for table, rows in comparison.tables.items():
        rule = [":--" if name in LEFT else "--:" for name in HEADINGS]
        body = [_line(cells(row)) for row in rows]
        parts += [f"## {TITLES[table]}", "", _line(HEADINGS), _line(rule), *body, ""]
        parts += [f"- {remark}" for remark in remarks(rows)]
        parts += [""] if remarks(rows) else []
    return "\n".join([*parts, *explanation(comparison), ""])


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def join_strides(strides: Sequence[Any]) -> str:
    """Return strides as ``4,2,1``."""
    return ",".join(str(stride) for stride in strides)
