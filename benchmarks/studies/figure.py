"""Draw what the page says: ``winners.svg`` (means and intervals at equal RAM) and ``when.svg`` (one thing changed)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import definitions
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from page import Row, load, mean_of, rows_of

from sapool.base.files import write_bytes_atomically

HERE = Path(__file__).parent
COLUMNS = 3


def main() -> None:
    names = [name for name in definitions.STUDIES if name.startswith("winner-") and load(name)]
    with drawing(HERE / "winners.svg", len(names), 2.2) as panels:
        for panel, name in zip(panels, names, strict=False):
            draw_intervals(panel, rows_of(name), definitions.STUDIES[name].place)
    axes = [
        axis for axis, places in definitions.AXES.items() if all(load(definitions.when_of(c)) for c in places.values())
    ]
    with drawing(HERE / "when.svg", len(axes), 3) as panels:
        for place, (panel, axis) in enumerate(zip(panels, axes, strict=False)):
            draw_axis(panel, axis)
            if place == 0:
                panel.legend(fontsize="small")


@contextmanager
def drawing(path: Path, count: int, height: float) -> Iterator[list[Axes]]:
    """Yield ``count`` panels (none: nothing is written), with nothing in the file that differs from run to run."""
    if not count:
        yield []
        return
    rows = -(-count // COLUMNS)
    figure = Figure(figsize=(12, height * rows), layout="tight")
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    for spare in grid.flat[count:]:
        spare.set_axis_off()
    yield list(grid.flat[:count])
    drawn = io.BytesIO()
    with rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    write_bytes_atomically(path, drawn.getvalue())


def draw_intervals(panel: Axes, rows: list[Row], title: str) -> None:
    """Draw every pooling's mean int8 accuracy on test and its 95 % interval, the best on top."""
    shown = [(row, mean) for row in rows if (mean := mean_of(row)) is not None]
    shown.sort(key=lambda pair: pair[1].mean)
    for place, (row, mean) in enumerate(shown):
        ours = row["pool"] == "self_attentive"
        panel.plot([100 * mean.mean], [place], "o", color="C3" if ours else "C0")
        if mean.low is not None and mean.high is not None:
            panel.plot([100 * mean.low, 100 * mean.high], [place, place], color="C3" if ours else "C0")
    panel.set_yticks(range(len(shown)), [f"{row['label']} ({len(row['seeds'])})" for row, _ in shown], fontsize="small")
    panel.set_title(title, fontsize="medium")
    panel.set_xlabel("int8 accuracy on test, %")


def draw_axis(panel: Axes, axis: str) -> None:
    """Draw every pooling's mean along one axis, with its 95 % intervals."""
    places = {place: rows_of(definitions.when_of(config)) for place, config in definitions.AXES[axis].items()}
    for number, label in enumerate(row["label"] for row in next(iter(places.values()))):
        found: list[tuple[int, Any]] = []
        for x, rows in enumerate(places.values()):
            found += [(x, mean) for row in rows if row["label"] == label and (mean := mean_of(row)) is not None]
        shift = 0.04 * (number - 1)
        panel.plot(
            [x + shift for x, _ in found], [100 * m.mean for _, m in found], "o-", color=f"C{number}", label=label
        )
        for x, mean in found:
            if mean.low is not None and mean.high is not None:
                panel.plot([x + shift] * 2, [100 * mean.low, 100 * mean.high], color=f"C{number}", linewidth=0.8)
    panel.set_xticks(range(len(places)), list(places))
    panel.set_xlabel(axis)
    panel.set_ylabel("int8 accuracy on test, %")


if __name__ == "__main__":
    main()
