from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table

from sapool.cli.plan_table import parse_strides, plan_table, search_table
from sapool.networks.load import load_model
from sapool.planning.plan import make_plan
from sapool.planning.sites import find_downsampling
from sapool.predict.search import search_plans


def shown(table: Table) -> list[str]:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text().splitlines()


def test_a_plan_is_a_row_a_site() -> None:
    model = load_model("sapool:tiny", 10)
    sites = find_downsampling(model, (3, 32, 48))
    plan = make_plan(model, (3, 32, 48), "avg", [4, 2, 2, 1])
    lines = shown(plan_table(plan, sites, "sapool:tiny"))  # type: ignore[arg-type]
    assert "sapool:tiny at 3x32x48" in lines[0]
    (stem,) = (line for line in lines if "stem" in line)
    assert "32x48" in stem
    assert "16x24" in stem
    assert "stride 2 + avg 2 (block)" in stem
    assert "stride 1" in lines[-2]  # the last site keeps its map
    assert "avg" not in lines[-2]


def test_a_search_shows_the_best_first_and_in_bold() -> None:
    found = search_plans(load_model("sapool:tiny", 10), 32, ram_bytes=32 * 1024, pools=("avg", "strided"))
    table = search_table(found, "sapool:tiny")
    assert str(table.title).endswith("budget 32,768 bytes of RAM")
    assert found.best is not None
    lines = shown(table)
    rows = [line for line in lines if "│" in line]
    (best,) = (row for row in rows if "best " in row and "of its kind" not in row)
    assert f"{found.best.total_bytes:,}" in best
    assert ",".join(map(str, found.best.plan.strides)) in best
    assert any(row.style == "bold" for row in table.rows)


def test_strides_are_whole_numbers() -> None:
    assert parse_strides(None) is None
    assert parse_strides("4, 2,1") == [4, 2, 1]
    with pytest.raises(ValueError, match=r"--strides must be whole numbers, comma-separated .* got '4;2'"):
        parse_strides("4;2")
