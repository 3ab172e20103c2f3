"""One's own network, pictures and board size, from the command line to a model, its header and its figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sapool.networks.load import load_model
from tests.cli.commands import run


@pytest.mark.slow
def test_grey_pictures_stay_grey_down_to_the_header(fitted: Path) -> None:
    header = (fitted / "avg" / "model.h").read_text()
    for fact in ("INPUT_HEIGHT 24", "INPUT_WIDTH 32", "INPUT_CHANNELS 1", "CLASSES 3", "INPUT_BYTES 768"):
        assert f"#define SAPOOL_{fact}\n" in header
    assert '"fl\\"at"' in header
    record = json.loads((fitted / "avg" / "record.json").read_text())
    assert record["plan"]["input_size"] == [1, 24, 32]
    assert record["config"]["training"]["augment"] == ["flip"]


@pytest.mark.slow
def test_its_weights_start_another_run_only_with_their_plan(home: Path, fitted: Path) -> None:
    weights = fitted / "avg" / "weights.safetensors"
    common = ("--model", "net.py:Net", "--data", "pictures", "--input-size", "24x32", "--epochs", "1", "--pools", "avg")
    done = run("fit", *common, "--weights", str(weights), "--out", "again", cwd=home)
    assert done.returncode == 2
    assert "trained with another plan" in done.stderr
    assert "plan.json" in done.stderr
    assert not (home / "again").exists()


@pytest.mark.slow
def test_weights_of_other_classes_start_a_fit(home: Path) -> None:
    network = load_model(f"{home}/net.py:Net", 7)
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, home / "seven.pth")
    common = ("--model", "net.py:Net", "--data", "pictures", "--input-size", "24x32", "--epochs", "1", "--pools", "avg")
    done = run("fit", *common, "--weights", "seven.pth", "--out", "from-seven", cwd=home)
    assert done.returncode == 0, done.stderr
    assert "seven.pth: head.weight, head.bias replaced: it had other classes" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("plan", "net.py:Nett"), "net.py has no 'Nett': did you mean Net"),
        (("plan", "nett.py:Net"), "nett.py: no such file"),
        (("plan", "net.py:Net(width=wide)"), "width must be a literal"),
        (("plan", "net.py:Net", "--input-size", "4 x 4"), "--input-size must be a side (64)"),
        (("plan", "net.py:Net", "--input-size", "3x24x32"), "expected input"),
        (("profile", "net.py:Net", "--input-size", "1x24x0"), "each 1 to 4,096"),
        (("fit", "--model", "net.py:Net", "--recipe", "none", "--data", "pictures"), "none"),
        (("fit", "--model", "net.py:Net", "--weights", "w.npz", "--data", "pictures"), "w.npz: no such file"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(home: Path, arguments: tuple[str, ...], said: str) -> None:
    done = run(*arguments, cwd=home)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert done.stderr.strip().count("\n") == 0
    assert done.stdout == ""
