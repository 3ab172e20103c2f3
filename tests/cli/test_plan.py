from __future__ import annotations

import json
from pathlib import Path

from sapool.base.records import PoolingPlan
from tests.cli.commands import run


def test_plan_shows_a_table_and_writes_the_plan(tmp_path: Path) -> None:
    out = tmp_path / "plan.json"
    done = run("plan", "sapool:tiny", "--strides", "4,2,2,1", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "blocks.2" in done.stdout
    assert "32x32" in done.stdout
    assert PoolingPlan.from_json(out.read_text()).strides == (4, 2, 2, 1)
    again = run("plan", "sapool:tiny", "--out", str(out))
    assert (again.returncode, "exists; choose another --out or say --force" in again.stderr) == (2, True)
    wrong = run("plan", "sapool:tiny", "--strides", "4,x")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "--strides must be whole numbers" in wrong.stderr


def test_plan_with_a_budget_searches(tmp_path: Path) -> None:
    out = tmp_path / "best.json"
    done = run(
        "plan", "sapool:tiny", "--input-size", "32", "--ram", "32KiB", "--pool", "avg,strided", "--out", str(out)
    )
    assert done.returncode == 0, done.stderr
    assert "62 of 62 plans predicted" in done.stdout
    assert PoolingPlan.from_json(out.read_text()).input_size == (3, 32, 32)
    nothing = run("plan", "sapool:tiny", "--input-size", "32", "--ram", "1KiB", "--pool", "strided", "--json")
    assert nothing.returncode == 3
    assert json.loads(nothing.stdout)["candidates"][0]["fits"] is False
    both = run("plan", "sapool:tiny", "--ram", "32KiB", "--strides", "4,2,2,1")
    assert (both.returncode, "exclude each other" in both.stderr) == (2, True)


def test_every_budget_starts_a_search() -> None:
    arguments = ["plan", "sapool:tiny", "--input-size", "32", "--pool", "strided", "--json"]
    found = json.loads(run(*arguments, "--macs", "1M").stdout)
    assert (found["ram_bytes"], found["flash_bytes"], found["macs"]) == (None, None, 1_000_000)
    assert [c["fits"] for c in found["candidates"]] == [c["macs"] <= 1_000_000 for c in found["candidates"]]
    nothing = run(*arguments[:-1], "--flash", "1KiB")
    assert nothing.returncode == 3
    assert "nothing fits 1,024 bytes of flash; the table shows what comes closest" in nothing.stdout
    wrong = run(*arguments, "--macs", "many")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "not a count: 'many'" in wrong.stderr
