from __future__ import annotations

import pytest

from sapool.report.comparison import rank
from sapool.report.tables import cells
from sapool.workflows.compare import PoolingRow, estimate


def row(label: str, pool: str, accuracies: tuple[float, ...]) -> PoolingRow:
    return PoolingRow(
        label, pool, {}, None, (2,), 32, (0, 1, 2), accuracies, accuracies, accuracies, estimate(accuracies), fits=True,
        records=(label,),
    )  # fmt: skip


def test_another_form_of_the_same_layer_is_no_rival() -> None:
    best = row("sa, lean", "self_attentive", (0.92, 0.90, 0.91))
    second = row("sa", "self_attentive", (0.90, 0.89, 0.90))
    rival = row("avg", "avg", (0.80, 0.82, 0.81))
    ranked = rank([rival, second, best])
    assert [found.label for found in ranked] == ["sa, lean", "sa", "avg"]
    assert [found.against and found.against.rival for found in ranked] == ["avg", "avg", "sa, lean"]
    assert ranked[0].against is not None
    assert ranked[0].against.mean == pytest.approx(0.1)
    assert "+10.0 [+5.0, +15.0] vs avg" in cells(ranked[0])
