from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sapool.cli import app
from sapool.export import measure_arena
from sapool.training import load_data
from sapool.training.classification import evaluate
from sapool.workflows.run_folder import read_run

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
    with pytest.raises(ValueError, match="holds no finished run"):
        CliRunner().invoke(app, f"prune {tmp_path} --ratio 0.5 --out {tmp_path / 'x'}".split(), catch_exceptions=False)
