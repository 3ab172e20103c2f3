from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import sapool
from sapool.base.records import SilentReporter
from sapool.training import Hardware, read_recipe
from sapool.workflows.folder import TRAIN, RunFolder

OLD = Path(__file__).parents[1] / "data" / "old_folders"
QUICK: dict[str, Any] = {
    "model": "sapool:tiny_025",
    "input_size": 32,
    "pool": "avg",
    "train_images": 64,
    "batch_size": 32,
    "hardware": Hardware(tensorboard=False),
}


class Listener(SilentReporter):
    """Remembers the stages, and can break off."""

    def __init__(self, most_steps: int | None = None) -> None:
        self.said: list[str] = []
        self.left = most_steps

    def stage(self, text: str) -> None:
        self.said.append(text)

    def advance(self, text: str = "") -> None:
        self.left = None if self.left is None else self.left - 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_a_run_from_python_is_what_the_command_writes(tmp_path: Path) -> None:
    run = sapool.train_run(**QUICK, epochs=1, out=tmp_path / "run")
    assert run.folder == tmp_path / "run"
    assert RunFolder(run.folder, TRAIN).is_whole()
    assert run.record["result"]["epochs"] == 1
    again = sapool.open_run(run.folder)
    assert again.record == run.record
    assert again.plan == run.plan
    listener = Listener()
    assert sapool.train_run(**QUICK, epochs=1, out=tmp_path / "run", reporter=listener).record == run.record
    assert listener.said == [f"finished before, read from {tmp_path / 'run' / 'record.json'}"]


def test_a_recipe_may_be_given_itself_and_a_plan_excludes_pool(tmp_path: Path) -> None:
    recipe = read_recipe("default", epochs=1, batch_size=32)
    run = sapool.train_run("sapool:tiny_025", input_size=32, train_images=32, recipe=recipe, out=tmp_path / "run")
    assert run.recipe() == recipe
    assert run.plan is None
    plan = sapool.make_plan(run.network(), 32, "avg")
    with pytest.raises(ValueError, match="plan excludes pool and strides"):
        sapool.train_run("sapool:tiny_025", input_size=32, plan=plan, pool="avg", out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_run_that_an_earlier_version_broke_off_goes_on(tmp_path: Path) -> None:
    shutil.copytree(OLD / "interrupted", tmp_path / "run")
    listener = Listener()
    run = sapool.train_run(**QUICK, epochs=2, out=tmp_path / "run", reporter=listener)
    assert run.record["result"]["stopped_epoch"] == 2
    whole = sapool.train_run(**QUICK, epochs=2, out=tmp_path / "whole")
    assert run.record["result"]["val_accuracy"] == whole.record["result"]["val_accuracy"]


def test_the_same_call_reads_what_an_earlier_version_finished(tmp_path: Path) -> None:
    shutil.copytree(OLD / "train", tmp_path / "run")
    before = (tmp_path / "run" / "record.json").read_bytes()
    listener = Listener()
    sapool.train_run(**QUICK, epochs=1, out=tmp_path / "run", reporter=listener)
    assert listener.said[0].startswith("finished before")
    assert (tmp_path / "run" / "record.json").read_bytes() == before
