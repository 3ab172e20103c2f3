"""Folders of results are read back, those of earlier versions too: ``tests/data/old_folders``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import sapool
from sapool.workflows.opened import open_run, read_run

OLD = Path(__file__).parents[1] / "data" / "old_folders"


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("train", "sapool train"),
        ("prune", "sapool prune"),
        ("fit", "sapool fit"),
        ("compare", "sapool compare"),
        ("fit/avg", "sapool fit or compare"),
    ],
)
def test_an_old_folder_gives_record_plan_weights_and_network(name: str, command: str) -> None:
    run = open_run(OLD / name)
    assert (run.command, run.num_classes, run.input_size if name in ("train", "prune") else 32) == (command, 10, 32)
    assert run.plan is not None
    assert {site.pool for site in run.plan.sites} == {"avg"}
    assert run.plan.input_size == (3, 32, 32)
    assert run.weights.is_file()
    network = run.network()
    assert not network.training
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert run.record["environment"]["commit"]


def test_weights_are_those_in_the_folder() -> None:
    from safetensors.torch import load_file

    state = open_run(OLD / "fit").network().state_dict()
    for name, tensor in load_file(OLD / "fit" / "avg" / "weights.safetensors").items():
        assert torch.equal(state[name], tensor), name


def test_a_folder_of_several_runs_opens_them_the_best_first(tmp_path: Path) -> None:
    shutil.copytree(OLD / "fit", tmp_path / "fit")
    summary = json.loads((tmp_path / "fit" / "summary.json").read_text())
    shutil.copytree(tmp_path / "fit" / "avg", tmp_path / "fit" / "max")
    summary["ways"] = [{**summary["ways"][0], "name": "max"}, *summary["ways"]]
    (tmp_path / "fit" / "summary.json").write_text(json.dumps(summary))
    run = open_run(tmp_path / "fit")
    assert [one.folder.name for one in run.runs] == ["avg", "max"]
    assert run.weights == tmp_path / "fit" / "avg" / "weights.safetensors"


def test_a_comparison_that_was_moved_is_read(tmp_path: Path) -> None:
    shutil.copytree(OLD / "compare", tmp_path / "elsewhere")
    run = sapool.open_run(tmp_path / "elsewhere")
    assert [one.folder.parts[-3:] for one in run.runs] == [("runs", "avg-b92299ca67", "seed0")]
    assert run.network()(torch.rand(1, 3, 32, 32)).shape == (1, 10)


def test_a_pruned_run_is_narrower_than_its_source() -> None:
    whole, narrow = (open_run(OLD / name).network() for name in ("train", "prune"))
    assert sum(p.numel() for p in narrow.parameters()) < sum(p.numel() for p in whole.parameters())


def test_recipe_and_data_come_back() -> None:
    run = read_run(OLD / "train")
    assert (run.recipe().epochs, run.recipe().batch_size) == (1, 32)
    assert len(run.data().train) == 64  # type: ignore[arg-type]
    assert read_run(OLD / "fit").recipe().epochs == 1


def test_what_is_not_finished_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"interrupted holds no finished run: none of record\.json"):
        open_run(OLD / "interrupted")
    with pytest.raises(ValueError, match="holds no finished run"):
        open_run(tmp_path / "nowhere")
    shutil.copytree(OLD / "prune", tmp_path / "prune")
    (tmp_path / "prune" / "channels.json").unlink()
    with pytest.raises(ValueError, match=r"no finished run of sapool prune: channels\.json is not there"):
        open_run(tmp_path / "prune")


@pytest.mark.parametrize(("text", "said"), [("{", "is damaged"), ("{}", "is no record of sapool train: no 'config'")])
def test_a_damaged_record_is_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(text)
    (tmp_path / "weights.safetensors").touch()
    with pytest.raises(ValueError, match=rf"record\.json {said}"):
        open_run(tmp_path)


def test_a_way_that_did_not_fit_says_so(tmp_path: Path) -> None:
    shutil.copytree(OLD / "fit", tmp_path / "fit")
    (tmp_path / "fit" / "avg" / "weights.safetensors").unlink()
    with pytest.raises(ValueError, match="avg holds no weights: nothing was trained there"):
        open_run(tmp_path / "fit").network()
