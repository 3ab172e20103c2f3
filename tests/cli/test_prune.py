from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from sapool.base.records import PoolingPlan
from sapool.cli import app
from sapool.export import measure_arena
from sapool.networks.load import load_model
from sapool.planning.surgery import apply_plan
from sapool.predict.profile import profile_memory
from sapool.pruning import load_pruned
from sapool.training import load_data
from sapool.training.classification import evaluate
from sapool.workflows.opened import read_run
from tests.cli.commands import run

TRAIN = "train --model sapool:tiny_025 --input-size 32 --pool avg --epochs 2 --train-images 128 --no-tensorboard"


def call(line: str) -> Result:
    return CliRunner().invoke(app, line.split())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    done = call(f"{TRAIN} --out {folder}")
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def pruned(trained: Path) -> Path:
    folder = trained.parent / "pruned"
    done = call(
        f"prune {trained} --ratio 0.4 --round-to 2 --passes none --steps 2 --epochs 1 --teacher --out {folder} --json"
    )
    assert done.exit_code == 0, done.output
    return folder


@pytest.mark.slow
def test_the_folder_brings_the_network_back(pruned: Path) -> None:
    record = json.loads((pruned / "record.json").read_text())
    run = read_run(pruned)
    network = run.network()
    assert record["prune"]["after"]["parameters"] == sum(p.numel() for p in network.parameters())
    assert evaluate(network, load_data("scattered-digits", 32).test) == record["tuning"]["test_accuracy"]
    assert record["tuning"]["recipe"]["learning_rate"] == pytest.approx(0.001)
    assert [step["step"] for step in record["tuning"]["steps"]] == [1, 2]
    assert record["tuning"]["teacher"] is True


@pytest.mark.slow
def test_a_finished_one_is_read_back_and_another_request_is_refused(pruned: Path, trained: Path) -> None:
    line = f"prune {trained} --ratio 0.4 --round-to 2 --passes none --steps 2 --epochs 1 --out {pruned}"
    before = (pruned / "record.json").stat().st_mtime_ns
    again = call(f"{line} --teacher")
    assert again.exit_code == 0, again.output
    assert "finished before" in again.stderr
    assert (pruned / "record.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="holds results of another configuration"):
        CliRunner().invoke(app, line.split(), catch_exceptions=False)


@pytest.mark.slow
def test_export_reads_it_and_it_can_be_pruned_again(pruned: Path, trained: Path, tmp_path: Path) -> None:
    arenas = []
    for folder in (trained, pruned):
        out = tmp_path / f"{folder.name}.tflite"
        done = call(f"export {folder} --out {out} --no-health")
        assert done.exit_code == 0, done.output
        arenas.append(measure_arena(out).total_bytes)
    assert arenas[1] < arenas[0]
    done = call(f"prune {pruned} --ratio 0.5 --round-to 2 --passes none --out {tmp_path / 'more'}")
    assert done.exit_code == 0, done.output
    more, less = (sum(p.numel() for p in read_run(f).network().parameters()) for f in (pruned, tmp_path / "more"))
    assert less < more


def test_a_network_pruned_by_name_is_exported_too(tmp_path: Path) -> None:
    line = f"prune sapool:tiny_025 --input-size 32 --ratio 0.5 --round-to 2 --passes none --out {tmp_path / 'x'}"
    assert call(line).exit_code == 0
    run = read_run(tmp_path / "x")
    record = json.loads((tmp_path / "x" / "prune.json").read_text())
    assert sum(p.numel() for p in run.network().parameters()) == record["after"]["parameters"]
    assert run.config["input_size"] == 32


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("--teacher", "--teacher is for the fine-tuning"),
        ("--learning-rate 0.1", "--learning-rate is of the fine-tuning"),
        ("--epochs -1", "--epochs must be at least 0, got -1"),
        ("--pool avg", "has its own plan and weights"),
        ("--ratio 2", "ratio must be over 0 and under 1"),
    ],
)
def test_mistakes_leave_nothing(more: str, said: str, trained: Path, tmp_path: Path) -> None:
    ratio = "" if "--ratio" in more else "--ratio 0.5 "
    with pytest.raises(ValueError, match=said):
        CliRunner().invoke(app, f"prune {trained} {ratio}{more} --out {tmp_path / 'x'}".split(), catch_exceptions=False)
    assert not list(tmp_path.iterdir())


def test_fine_tuning_needs_a_run(tmp_path: Path) -> None:
    line = f"prune sapool:tiny --ratio 0.5 --epochs 2 --out {tmp_path / 'x'}"
    with pytest.raises(ValueError, match="go with a folder of sapool train, sapool:tiny is none"):
        CliRunner().invoke(app, line.split(), catch_exceptions=False)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    shutil.copy(__file__, tmp_path / "record.json")
    with pytest.raises(ValueError, match=r"record\.json is damaged"):
        CliRunner().invoke(app, f"prune {tmp_path} --ratio 0.5 --out {tmp_path / 'x'}".split(), catch_exceptions=False)


@pytest.mark.slow
def test_prune_writes_what_load_pruned_reads(tmp_path: Path) -> None:
    arguments = ("sapool:tiny", "--input-size", "32", "--pool", "avg", "--strides", "4,2,2,2", "--ratio", "0.4")
    done = run(
        "prune", *arguments, "--passes", "none", "--exclude", "stem,head", "--out", "small", "--json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    folder = tmp_path / "small"
    plan = PoolingPlan.from_json((folder / "plan.json").read_text())
    pruned = load_pruned(apply_plan(load_model("sapool:tiny", 10), plan).model, folder)
    assert record["after"]["total_bytes"] == profile_memory(pruned, 32, passes="none").total_bytes
    assert record["after"]["parameters"] == sum(p.numel() for p in pruned.parameters())
    assert pruned.eval()(torch.rand(1, 3, 32, 32)).shape == (1, 10)
    again = run("prune", *arguments, "--out", "small", cwd=tmp_path)
    assert again.returncode == 2
    assert "small is not empty" in again.stderr
    wanted = ("--macs", "600k", "--passes", "none", "--out", "x")
    more = run("prune", "sapool:tiny", "--input-size", "32", *wanted, cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert "multiply-accumulates" in more.stdout
    assert "blocks.0.expand.0" in more.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "exactly one of ratio, ram_bytes and macs, got none"),
        (("--ratio", "2"), "ratio must be over 0 and under 1, got 2.0"),
        (("--macs", "many"), "not a count: 'many'"),
        (("--ratio", "0.5", "--exclude", "stm"), "did you mean stem"),
        (("--ratio", "0.5", "--plan", "no.json", "--pool", "avg"), "--plan excludes --pool and --strides"),
        (("--ratio", "0.5", "--weights", "no.safetensors"), "no.safetensors: no such file"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = run("prune", "sapool:tiny", "--out", "small", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
