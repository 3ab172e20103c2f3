from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sapool.report.comparison import Comparison, PoolingRow
from sapool.report.statistics import Estimate
from sapool.workflows.compare.authors import authors_results, beside_authors

ROOT = Path(__file__).parents[2]


def test_the_shipped_results_are_the_logs() -> None:
    lines = (ROOT / "data" / "authors_stl10_results.csv").read_text().splitlines()
    found = authors_results()
    assert len(found) == len(lines) - 1 == 134
    by_hand = next(r for r in found if (r.network, r.side, r.pool, r.strides) == ("resnet50", 128, "lip", "4222"))
    assert (by_hand.best_test, by_hand.final_test, by_hand.epochs) == (0.7185, 0.6811, 299)
    assert all(0 < run.final_test <= run.best_test < 1 for run in found)
    # The caveat that is printed: no average pooling anywhere.
    assert not any("avg" in run.pool or "avg" in run.network for run in found)


def held(folder: Path, data: str) -> Path:
    row = PoolingRow(
        "mine", "max", {}, None, (2, 2, 1), 96, seeds=(0,), mean=Estimate(0.8, None, None, 1), records=("a",)
    )
    tables = {"budget": (row, replace(row, records=())), "equal": (row,)}
    folder.mkdir()
    comparison = Comparison({"data": data, "model": "timm:resnet18"}, {}, str(folder), tables, ())
    (folder / "compare.json").write_text(comparison.to_json())
    return folder


def test_own_results_stand_above_the_authors(tmp_path: Path) -> None:
    rows = beside_authors([held(tmp_path / "mine", "stl10:/data")])
    assert rows[0] == ["yours", "timm:resnet18", "96", "mine", "2,2,1", "1", "80.0 % int8", "-"]
    assert len(rows) == 135
    assert {row[0] for row in rows[1:]} == {"authors"}


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no compare\.json"):
        beside_authors([tmp_path])
    with pytest.raises(ValueError, match="holds results on cifar10: only STL10"):
        beside_authors([held(tmp_path / "other", "cifar10")])
    broken = held(tmp_path / "broken", "stl10")
    for text, said in (
        ("{", "not JSON"),
        ('{"config": {}}', "it has no environment"),
        ("[" * 100_000, "nested deeper"),
    ):
        (broken / "compare.json").write_text(text)
        with pytest.raises(ValueError, match=rf"compare\.json is damaged \(.*{said}"):
            beside_authors([broken])
