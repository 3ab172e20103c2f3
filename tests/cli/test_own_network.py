"""One's own network, pictures and board size, from the command line to a model, its header and its figures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sapool.networks.load import load_model
from tests.cli.commands import run

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, width=8):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, x):
        return self.head(self.body(self.stem(x)).mean((2, 3)))

class Maps(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        return self.conv(x)
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with net.py and 3 x 40 grey pictures of odd sizes: stripes down, stripes across, flat."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "net.py").write_text(NET)
    rng = np.random.default_rng(0)
    for name in ("across", "down", 'fl"at'):
        (folder / "pictures" / name).mkdir(parents=True)
        for place in range(40):
            height, width = rng.integers(30, 50, 2)
            rows, columns = np.indices((height, width))
            stripes = {"across": rows // 3 % 2, "down": columns // 3 % 2}.get(name, np.full((height, width), 0.5))
            pixels = 60 + 120 * stripes + rng.normal(0, 20, (height, width))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "pictures" / name / f"{place}.png")
    return folder


@pytest.fixture(scope="module")
def fitted(home: Path) -> Path:
    done = run(
        *("fit", "--model", "net.py:Net(width=8)", "--data", "pictures", "--input-size", "24x32", "--ram", "64KiB"),
        *("--pools", "avg", "--epochs", "40", "--batch-size", "16", "--augment", "flip", "--out", "out"),
        cwd=home,
    )
    assert done.returncode == 0, done.stderr
    assert "best that fits" in done.stdout
    return home / "out"


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
def test_eval_of_the_folder_and_of_the_file_agree(fitted: Path) -> None:
    shown = run("eval", "out", cwd=fitted.parent)
    assert shown.returncode == 0, shown.stderr
    assert "both answer alike on" in shown.stdout
    folder, file = (
        json.loads(run("eval", *what, "--json", cwd=fitted.parent).stdout)
        for what in (["out/avg"], ["out/avg/model.tflite", "--data", "pictures"])
    )
    assert folder["confusion"] == file["confusion"]
    record = json.loads((fitted / "avg" / "record.json").read_text())
    assert folder["accuracy"] == pytest.approx(record["int8_test_accuracy"])
    assert (folder["guessing"], file["float_accuracy"]) == (False, None)


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
        (("eval", "nothing.tflite", "--data", "pictures"), "nothing.tflite: no such file"),
        (("eval", "out/none.tflite"), "name --data"),
        (("eval", "x.tflite", "--data", "pictures", "--engine", "tfl"), "--engine must be litert or tflm"),
        (("eval", "x.tflite", "--data", "pictures", "--mean", "a"), "--mean must be a number"),
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
