"""A comparison as a picture: accuracy against arena (matplotlib; without it there is none)."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

from sapool.base.extras import require
from sapool.base.files import write_bytes_atomically
from sapool.report.comparison import Comparison, PoolingRow


def draw(comparison: Comparison, path: Path) -> bool:
    """Draw every pooling's mean int8 accuracy on test, with its interval, against its arena in KiB.

    Returns:
        Whether there was anything to draw, and matplotlib to draw it with.
    """
    rows = {table: [row for row in rows if row.mean] for table, rows in comparison.tables.items()}
    if importlib.util.find_spec("matplotlib") is None or not any(rows.values()):
        return False
    figure = require("matplotlib.figure", "report", "a picture").Figure(figsize=(6 * len(rows), 4), layout="tight")
    for axes, (table, shown) in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows.items(), strict=True):
        for row in shown:
            _mark(axes, row)
        axes.set_title(f"same {table}" if table == "budget" else "all equal but the pool")
        axes.set_xlabel("arena, KiB")
        axes.set_ylabel("int8 accuracy on test, %")
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    write_bytes_atomically(path, drawn.getvalue())
    return True


def _mark(axes: object, row: PoolingRow) -> None:
    if row.mean is None or row.arena_bytes is None:
        return
    mean, low, high = row.mean.mean, row.mean.low, row.mean.high
    interval = None if low is None or high is None else [[100 * (mean - low)], [100 * (high - mean)]]
    kib = row.arena_bytes / 1024
    axes.errorbar([kib], [100 * mean], yerr=interval, marker="o", capsize=3)  # type: ignore[attr-defined]
    label = row.label.replace("$", r"\$")  # a single one starts a formula
    axes.annotate(label, (kib, 100 * mean), xytext=(4, 4), textcoords="offset points")  # type: ignore[attr-defined]
