from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.figure
import pytest

from sapool.report.figures import draw
from sapool.workflows.compare import Comparison, PoolingRow, estimate


def row(label: str, accuracies: tuple[float, ...]) -> PoolingRow:
    return PoolingRow(
        label, label, {}, None, (2,), 32, tuple(range(len(accuracies))), accuracies, accuracies, accuracies,
        estimate(accuracies) if accuracies else None, arena_bytes=20_480, fits=True,
        records=(label,),
    )  # fmt: skip


def comparison(*rows: PoolingRow) -> Comparison:
    return Comparison({}, {}, "out", {"budget": rows}, ())


def test_every_pooling_with_a_result_is_a_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[matplotlib.figure.Figure] = []
    save = matplotlib.figure.Figure.savefig

    def note(figure: matplotlib.figure.Figure, *arguments: Any, **kwargs: Any) -> None:
        drawn.append(figure)
        save(figure, *arguments, **kwargs)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", note)
    assert draw(comparison(row("avg", (0.6, 0.7, 0.65)), row("max", ()), row("lip", (0.5,))), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    (axes,) = drawn[0].axes
    points = {text.get_text(): text.xy for text in axes.texts}  # type: ignore[attr-defined]
    assert points == {"avg": (20.0, pytest.approx(65)), "lip": (20.0, pytest.approx(50))}


def test_nothing_to_draw_is_no_picture(tmp_path: Path) -> None:
    assert not draw(comparison(row("max", ())), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
