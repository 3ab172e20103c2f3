from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from sapool.base.records import ArenaRecord, Reporter, RunRecord, record_to_json
from sapool.export import ExportError
from sapool.training import DataSplits, DivergedError, TrainConfig
from sapool.workflows.compare import comparison, planning
from sapool.workflows.compare.comparison import compare
from sapool.workflows.compare.planning import plan_variant
from sapool.workflows.folder import FolderConflictError
from sapool.workflows.running import Task
from tests.workflows.compare import stubs
from tests.workflows.compare.stubs import quick


@pytest.fixture(autouse=True)
def stubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "measure_untrained", stubs.measured)
    monkeypatch.setattr(comparison, "run_planned", stubs.run_stub)
    monkeypatch.setattr(planning, "search_plans", stubs.search)


def done(folder: Path) -> list[str]:
    return [line.split()[1] for line in (folder / "done.txt").read_text().splitlines()]


def test_both_tables_rank_every_pooling_and_equal_runs_are_one(tmp_path: Path) -> None:
    found = compare(quick(seeds=3), tmp_path / "out")
    for table in ("budget", "equal"):
        rows = found.tables[table]
        assert [row.label for row in rows] == ["avg", "max", "strided"]
        assert all(row.seeds == (0, 1, 2) and row.fits for row in rows)
        best, second, _ = rows
        assert best.mean is not None
        assert best.mean.mean == pytest.approx(0.614)
        assert best.mean.low is not None
        assert best.against is not None
        assert (best.against.rival, second.against and second.against.rival) == ("max", "avg")
        assert best.against.mean == pytest.approx(0.1)
        for row in rows:
            assert [RunRecord.from_json(Path(path).read_text()).pool for path in row.records] == [row.pool] * 3
    assert len({(row.strides, row.side) for row in found.tables["equal"]}) == 1
    assert len(done(tmp_path / "out")) == len(set(done(tmp_path / "out")))
    paths = {path for rows in found.tables.values() for row in rows for path in row.records}
    assert len(paths) == len(done(tmp_path / "out"))
    held = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert held["tables"]["budget"][0]["records"] == list(found.row("avg").records)
    assert "| avg |" in (tmp_path / "out" / "table.md").read_text()
    assert (tmp_path / "out" / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert "Average pooling was added" in " ".join(found.notes)


def test_a_study_grows_and_nothing_is_run_twice(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = compare(quick(seeds=1, tables=("budget",), pools=("avg",)), out)
    assert "1 seed: not evidence" in " ".join(first.notes)
    assert first.row("avg").mean is not None
    assert done(out) == [f"{Path(path).parts[-3]}/seed0" for path in first.row("avg").records]
    compare(quick(seeds=2, tables=("budget",), pools=("avg", "max")), out)
    assert len(done(out)) == 4
    compare(quick(seeds=2, tables=("budget",), pools=("avg", "max")), out)
    assert len(done(out)) == len(set(done(out))) == 4
    # Without its storage, what the folder holds is still not run again.
    (out / "study.db").unlink()
    again = compare(quick(seeds=2, tables=("budget",), pools=("avg", "max")), out)
    assert len(done(out)) == 4
    assert again.row("max").seeds == (0, 1)
    with pytest.raises(FolderConflictError, match=r"another configuration \(ram_bytes is 40960 there, 50000 here\)"):
        compare(quick(ram_bytes=50_000), out)


def test_a_worker_without_the_folder_gathers_all_records(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    one = compare(quick(), tmp_path / "one", storage=storage)
    two = compare(quick(), tmp_path / "two", storage=storage)
    assert not (tmp_path / "two" / "done.txt").exists()
    assert [row.int8_test for row in two.tables["budget"]] == [row.int8_test for row in one.tables["budget"]]
    for here, there in zip(two.tables["equal"], one.tables["equal"], strict=True):
        assert [Path(p).read_text() for p in here.records] == [Path(p).read_text() for p in there.records]


def start(folder: Path, heartbeat: int, seconds: float) -> subprocess.Popen[str]:
    storage = f"sqlite:///{folder / 'shared.db'}"
    command = [sys.executable, "-m", "tests.workflows.compare.stubs", str(folder / "out"), storage, str(heartbeat)]
    root = Path(__file__).parents[3]
    environment = {**os.environ, "STUB_SECONDS": str(seconds)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=root, env=environment)


@pytest.mark.slow
def test_two_workers_at_once_do_every_run_once_and_see_the_same(tmp_path: Path) -> None:
    workers = [start(tmp_path, 5, 0.5) for _ in range(2)]
    said = [worker.communicate(timeout=300) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    one, two = (json.loads(out) for out, _ in said)
    assert one["tables"] == two["tables"]
    assert all(len(row["seeds"]) == 2 for rows in one["tables"].values() for row in rows)
    assert len(done(tmp_path / "out")) == len(set(done(tmp_path / "out"))) > 5


@pytest.mark.slow
def test_a_killed_workers_run_is_taken_up_by_the_next_call(tmp_path: Path) -> None:
    worker = start(tmp_path, 1, 600)
    log = tmp_path / "out" / "done.txt"
    deadline = time.monotonic() + 240
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    (cut_off,) = done(tmp_path / "out")
    found = compare(quick(), tmp_path / "out", storage=f"sqlite:///{tmp_path / 'shared.db'}", heartbeat_seconds=1)
    assert all(row.seeds == (0, 1) for rows in found.tables.values() for row in rows)
    again = done(tmp_path / "out")[1:]
    assert cut_off in again
    assert len(again) == len(set(again))


def test_of_several_plans_validation_on_the_first_seed_chooses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation and test rank the plans in opposite ways: the choice must be validation's."""
    vals: dict[str, float] = {}

    def run(task: Task, model: nn.Module, data: DataSplits, folder: Path, reporter: Reporter) -> RunRecord:
        record = stubs.run_stub(task, model, data, folder, reporter)
        value = vals.setdefault(folder.parent.name, 0.5 + 0.1 * len(vals))
        changed = RunRecord(**{**vars(record), "int8_val_accuracy": value, "int8_test_accuracy": 1 - value})
        (folder / "record.json").write_text(record_to_json(changed))
        return changed

    monkeypatch.setattr(comparison, "run_planned", run)
    out = tmp_path / "out"
    found = compare(quick(pools=("avg",), plan_candidates=3, tables=("budget",), seeds=2), out)
    names = [name for name in done(out) if name.endswith("seed0")]
    assert len(names) == len(set(names)) == 3
    assert len(done(out)) == 4
    row = found.row("avg")
    assert row.seeds == (0, 1)
    assert row.int8_val[0] == pytest.approx(max(vals.values()))
    assert row.int8_test[0] == pytest.approx(1 - max(vals.values()))


def test_a_budget_that_nothing_fits_says_by_how_much_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = compare(quick(ram_bytes=2048), tmp_path / "none")
    assert not found.anything_fits
    for row in found.tables["budget"]:
        assert row.plan is None
        assert "no plan fits 2,048 bytes of RAM: the closest (strides" in row.reasons[0]
        assert " over" in row.reasons[0]

    def refuses(model: nn.Module, variant: Any, config: Any, measure: Any, reporter: Reporter) -> Any:
        def no(model: nn.Module, plan: Any) -> ArenaRecord:
            raise ExportError("it has a loop")

        return plan_variant(model, variant, config, no if variant.pool == "max" else measure, reporter)

    monkeypatch.setattr(comparison, "plan_variant", refuses)
    found = compare(quick(seeds=1), tmp_path / "some")
    assert found.row("max").reasons == ("no plan can be exported: it has a loop",)
    assert [row.label for row in found.tables["equal"] if row.fits] == ["avg", "strided"]


def test_a_run_that_diverges_is_listed_and_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(task: Task, model: nn.Module, data: DataSplits, folder: Path, reporter: Reporter) -> RunRecord:
        if task.pool == "max" and task.recipe.seed == 1:
            stubs.run_stub(task, model, data, folder, reporter)
            (folder / "record.json").unlink()
            raise DivergedError("the loss became nan")
        return stubs.run_stub(task, model, data, folder, reporter)

    monkeypatch.setattr(comparison, "run_planned", run)
    out, config = tmp_path / "out", quick(tables=("budget",), pools=("max",))
    row = compare(config, out).row("max")
    assert row.reasons == ("seed 1: the loss became nan",)
    assert row.seeds == (0,)
    assert not row.fits
    assert compare(config, out).row("max") == row
    assert len(done(out)) == 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": "scattered-digit"}, "did you mean scattered-digits"),
        ({"model": "sapool:tinny"}, r"did you mean sapool:tiny"),
        ({"sites": ("stemm",)}, r"sapool:tiny has no site 'stemm': it has stem"),
        ({"input_size": 8}, "at least 24 px"),
    ],
)
def test_mistakes_that_need_a_look_leave_nothing_behind(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        compare(quick(**changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_the_named_sites_get_pools_and_strides_can_be_fixed(tmp_path: Path) -> None:
    config = quick(pools=("avg",), sites=("stem.0",), strides=(4, 2, 2, 1), seeds=1)
    plan = compare(config, tmp_path / "out").row("avg").plan
    assert plan is not None
    assert [(site.conv_stride, site.pool_stride) for site in plan.sites] == [(2, 2), (2, 1), (2, 1), (1, 1)]


def test_the_recipe_is_the_same_but_for_the_seed(tmp_path: Path) -> None:
    recipe = TrainConfig(epochs=1, batch_size=200, learning_rate=0.02)
    found = compare(quick(seeds=(4, 9), recipe=recipe, tables=("budget",)), tmp_path / "out")
    for row in found.tables["budget"]:
        held = [RunRecord.from_json(Path(path).read_text()).config["run"]["recipe"] for path in row.records]
        assert [recipe["seed"] for recipe in held] == [4, 9]
        assert {recipe["learning_rate"] for recipe in held} == {0.02}
