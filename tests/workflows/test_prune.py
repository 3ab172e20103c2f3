from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import sapool
from sapool.pruning import save_pruned
from sapool.workflows import prune
from sapool.workflows.folder import PRUNED, FolderConflictError, RunFolder
from sapool.workflows.prune import NamedRequest, prune_named

OLD = Path(__file__).parents[1] / "data" / "old_folders"


def request(ratio: float, pool: str) -> NamedRequest:
    network = sapool.load_model("sapool:tiny_025", 10)
    pruning = {"ratio": ratio, "importance": "magnitude", "round_to": 2, "passes": "none"}
    return NamedRequest("sapool:tiny_025", 10, 32, sapool.make_plan(network, 32, pool), None, "digits", pruning)


def test_a_run_is_pruned_from_python(tmp_path: Path) -> None:
    run = sapool.prune_run(OLD / "train", tmp_path / "out", ratio=0.4, round_to=2, passes="none")
    assert run.record["prune"]["after"]["parameters"] == sum(p.numel() for p in run.network().parameters())
    again = sapool.open_run(tmp_path / "out")
    assert again.record == run.record
    assert again.plan == sapool.open_run(OLD / "train").plan
    assert sapool.prune_run(OLD / "train", tmp_path / "out", ratio=0.4, round_to=2, passes="none").record == run.record


def test_the_best_way_of_a_fit_is_pruned_as_any_run(tmp_path: Path) -> None:
    run = sapool.prune_run(OLD / "fit", tmp_path / "out", ratio=0.4, round_to=2, passes="none")
    assert run.network().training is False
    assert run.config["model"] == "sapool:tiny_025"


def killed_while_writing(folder: Path) -> None:
    """Prune another network in the folder's place, and die when the new weights are in."""

    def dies(*args: Any) -> None:
        save_pruned(*args)
        os.kill(os.getpid(), signal.SIGKILL)

    with mock.patch.object(prune, "save_pruned", dies):
        prune_named(request(0.5, "max"), folder, force=True)


def test_a_kill_in_the_middle_of_force_leaves_no_mixture(tmp_path: Path) -> None:
    out = tmp_path / "out"
    prune_named(request(0.3, "avg"), out)
    assert RunFolder(out, PRUNED).is_whole()
    child = multiprocessing.get_context("spawn").Process(target=killed_while_writing, args=(out,))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    with pytest.raises(ValueError, match="holds no finished run"):
        sapool.open_run(out)
    run = prune_named(request(0.5, "max"), out, force=True)
    assert run.plan is not None
    assert {site.pool for site in run.plan.sites} == {"max"}
    assert sapool.open_run(out).record == run.record


def test_a_folder_at_work_or_not_empty_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out", PRUNED)
    with folder.locked():
        with pytest.raises(FolderConflictError, match="another process is at work in it"):
            prune_named(request(0.3, "avg"), folder.path, force=True)
        with pytest.raises(FolderConflictError, match="another process is at work in it"):
            sapool.prune_run(OLD / "train", folder.path, ratio=0.3)
    folder.file("thesis.tex").write_text("precious")
    with pytest.raises(FolderConflictError, match="out is not empty; choose another --out or say --force"):
        prune_named(request(0.3, "avg"), folder.path)
    assert [path.name for path in folder.path.iterdir()] == ["thesis.tex"]


def test_a_mistake_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ratio must be over 0 and under 1"):
        prune_named(request(2.0, "avg"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
