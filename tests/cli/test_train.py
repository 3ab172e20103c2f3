from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from sapool.cli import app
from sapool.workflows.opened import read_run

QUICK = ["--input-size", "24", "--train-images", "100", "--batch-size", "20", "--no-tensorboard"]


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["train", *arguments], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train") / "run"
    done = call(*QUICK, "--epochs", "2", "--pool", "avg", "--out", str(folder))
    assert done.exit_code == 0, done.output
    assert f"go on with: sapool export {folder}" in done.stdout
    return folder


def test_the_folder_holds_everything(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {"config.json", "checkpoints", "logs", "weights.safetensors", "plan.json", "record.json"}
    record = json.loads((finished / "record.json").read_text())
    assert record["config"] == json.loads((finished / "config.json").read_text())
    assert record["config"]["recipe"]["epochs"] == 2
    skipped = {"train": 0, "val": 0, "test": 0}
    sizes = {"train": 100, "val": 300, "test": 497, "num_classes": 10}
    assert record["data"] == {**sizes, "classes": list("0123456789"), "skipped": skipped}
    assert 0 <= record["result"]["test_accuracy"] <= 1
    assert record["result"]["images_per_second"] > 0
    assert "torch" in record["environment"]


def test_a_finished_run_is_read_back(finished: Path) -> None:
    before = (finished / "record.json").stat().st_mtime_ns
    done = call(*QUICK, "--epochs", "2", "--pool", "avg", "--out", str(finished), "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout) == json.loads((finished / "record.json").read_text())
    assert (finished / "record.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("content", ["{}", '{"conf'])
def test_a_damaged_record_is_named(content: str, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "record.json").write_text(content)
    done = call(*QUICK, "--epochs", "2", "--pool", "avg", "--out", str(tmp_path / "run"))
    assert isinstance(done.exception, ValueError)
    assert "run/record.json is damaged" in str(done.exception)
    assert str(done.exception).endswith("remove it and say the same command again")


def test_its_network_comes_back_from_the_folder(finished: Path) -> None:
    from sapool.training import evaluate

    run = read_run(finished)
    record = json.loads((finished / "record.json").read_text())
    assert evaluate(run.network(), run.data().test) == record["result"]["test_accuracy"]


def test_it_teaches_another(finished: Path, tmp_path: Path) -> None:
    done = call(*QUICK, "--epochs", "1", "--teacher", str(finished), "--out", str(tmp_path / "student"), "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["config"]["teacher"] == str(finished)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--epochs", "3", "--pool", "avg"], "another configuration (recipe.epochs is 2 there, 3 here)"),
        (["--epochs", "2", "--pool", "max"], "another configuration (plan."),
        (["--recipe", "moden"], "unknown recipe 'moden': did you mean modern?"),
        (["--precision", "8"], "unknown precision '8'"),
        (["--plan", "x.json", "--pool", "avg"], "--plan and --pool or --strides exclude each other"),
        (["--plan", "x.json"], "x.json: no such file"),
        (["--data", "scatered-digits"], "did you mean scattered-digits?"),
        (["--augment", "flop"], "unknown augmentation 'flop': did you mean flip?"),
        (["--teacher", "nowhere"], "nowhere holds no finished run"),
        (["--epochs", "0"], "epochs must be at least 1"),
        (
            ["--model", "torchvision:alexnet"],
            "--model torchvision:alexnet: the model can't take an input of (3, 24, 24)",
        ),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], said: str, finished: Path) -> None:
    done = call(*QUICK, *arguments, "--out", str(finished))
    assert isinstance(done.exception, ValueError)
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)


def test_a_teacher_of_another_normalisation_is_refused(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("epochs: 1\nmean: [0.5, 0.5, 0.5]\nstd: [0.5, 0.5, 0.5]\n")
    recipe = ["--recipe", str(tmp_path / "mine.yaml")]
    done = call(*QUICK, *recipe, "--teacher", str(finished), "--out", str(tmp_path / "x"))
    assert "wants images with mean None, the recipe has (0.5, 0.5, 0.5)" in str(done.exception)
    assert not (tmp_path / "x").exists()


def test_a_teacher_of_other_classes_is_refused(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "letters")
    record = json.loads((finished / "record.json").read_text())
    record["data"]["classes"] = list("abcdefghij")
    (tmp_path / "letters" / "record.json").write_text(json.dumps(record))
    done = call(*QUICK, "--epochs", "1", "--teacher", str(tmp_path / "letters"), "--out", str(tmp_path / "x"))
    assert "knows class 0 as 'a', the data as '0'" in str(done.exception)


def test_seed_zero_replaces_the_recipes(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("epochs: 1\nseed: 7\n")
    for seed, more in ((0, ["--seed", "0"]), (7, [])):
        done = call(
            *QUICK, "--recipe", str(tmp_path / "mine.yaml"), *more, "--out", str(tmp_path / str(seed)), "--json"
        )
        assert json.loads(done.stdout)["config"]["recipe"]["seed"] == seed


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_an_accelerator_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = call(*QUICK, "--epochs", "1", "--accelerator", "cuda", "--out", str(tmp_path / "x"))
    assert isinstance(done.exception, ValueError)
    assert str(done.exception) == "accelerator 'cuda' is not available here: choose auto or cpu"


@pytest.mark.slow
def test_export_takes_the_folder(finished: Path, tmp_path: Path) -> None:
    runner, out = CliRunner(), tmp_path / "model.tflite"
    done = runner.invoke(app, ["export", str(finished), "--out", str(out), "--no-health", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["arena"]["total_bytes"] > 0
    assert out.stat().st_size > 1000
    twice = runner.invoke(app, ["export", str(finished), "--plan", str(finished / "plan.json"), "--out", "x.tflite"])
    assert "leave --plan and --weights out" in str(twice.exception)


@pytest.mark.slow
def test_sigterm_is_143_and_the_same_command_goes_on(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "sapool", "train", *QUICK, "--epochs", "20", "--out", str(tmp_path / "run")]
    running = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file() and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 143, said
    assert "Traceback" not in said
    assert said.strip().endswith("interrupted; the same command goes on where it stopped")
    done = call(*QUICK, "--epochs", "20", "--out", str(tmp_path / "run"), "--json")
    assert json.loads(done.stdout)["result"]["stopped_epoch"] == 20


def test_a_damaged_image_is_named_and_the_corrected_command_can_have_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    monkeypatch.setenv("SAPOOL_CACHE", str(tmp_path / "cache"))
    for name, shade in (("dark", 20), ("light", 230)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(12):
            Image.new("L", (24, 24), shade + number).save(tmp_path / "data" / name / f"{number}.png")
    for number in range(12):  # most of one class, so that training surely meets one
        if number % 3:
            (tmp_path / "data" / "dark" / f"{number}.png").write_bytes(b"no image")
    out = tmp_path / "run"
    options = ["--data", f"folder:{tmp_path / 'data'}", "--input-size", "24", "--batch-size", "4", "--no-tensorboard"]
    done = call(*options, "--epochs", "1", "--out", str(out))
    assert isinstance(done.exception, ValueError)
    assert ".png" in str(done.exception)
    assert str(done.exception).endswith("; mend it, or say --skip-bad")
    assert not out.exists()
    done = call(*options, "--epochs", "1", "--skip-bad", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert sum(json.loads((out / "record.json").read_text())["data"]["skipped"].values()) == 8
