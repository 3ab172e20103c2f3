from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sapool.cli import app
from sapool.cli.compare import parse_variant
from sapool.training import read_recipe
from tests.cli.commands import run

QUICK = ("--input-size", "32", "--epochs", "1", "--batch-size", "250")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("mine=lip", ("mine", ("lip", {}))),
        (
            "a=self_attentive, gain=4,window_norm=true,position=none,restoration=nearest",
            ("a", ("self_attentive", {"gain": 4, "window_norm": True, "position": None, "restoration": "nearest"})),
        ),
    ],
)
def test_variants(text: str, wanted: Any) -> None:
    assert parse_variant(text) == wanted


@pytest.mark.parametrize("text", ["", "mine", "=lip", "mine=", "mine=lip,gain", "mine=lip,gain="])
def test_what_is_no_variant(text: str) -> None:
    with pytest.raises(ValueError, match="--variant must be label=pooling"):
        parse_variant(text)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pools", "self_attentiv"], "did you mean self_attentive"),
        (["--variant", "mine=avgg"], "unknown pooling 'avgg': did you mean avg?"),
        (["--data", "scattered-digit"], "did you mean scattered-digits"),
        (["--tables", "equals"], "unknown table 'equals': did you mean equal?"),
        (["--seeds", "0"], "seeds must be at least 1, got 0"),
        (["--variant", "a|b=lip"], "the label of a variant must be 1 to 60 printable characters without |, got 'a|b'"),
        (["--variant", "x" * 100 + "=lip"], "the label of a variant must be"),
        (["--variant", "\x1b[2J=lip"], "got '\\x1b[2J'"),
        (["--out", "\x1b[2J"], "--out must be a path of printable characters"),
        (["--out", "x" * 300], "--out must have names of at most 200 bytes"),
        (["--sizes", "big"], "--sizes must be whole numbers"),
        (["--storage", "nonsense", "--out", "out"], "the storage nonsense can't be opened"),
        (["--against", "author"], "did you mean authors?"),
        (["--against", "authors", "--ram", "64KiB"], "--against leaves --ram no choice"),
        (["--sizes", "0"], "each of input_sizes must be at least 1, got 0"),
        (["--against", "authors", "--results", "."], "holds no compare.json"),
        (["--study", "imagenet"], "unknown study 'imagenet': did you mean imagenet-mobilenetv2?"),
        (["--study", "imagenet-mobilenetv2", "--ram", "1MiB"], "--study leaves --ram no choice"),
        (["--study", "imagenet-mobilenetv2"], "--study needs --data"),
        (["--results", "."], "--results goes with --against only"),
        (["--variant", "a=lip", "--variant", "a=max"], "the label 'a' twice"),
        (["--strides", "2,2"], "strides need one entry a site of sapool:tiny, 4 in all"),
        (
            ["--study", "imagenet-mobilenetv2", "--data", "x", "--models", "sapool:tiny", "--patterns", "1"],
            "strides must be 1222121",
        ),
    ],
)
def test_mistakes_are_one_line_and_exit_2(arguments: list[str], said: str, tmp_path: Path) -> None:
    done = run("compare", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("sapool: ")


def test_the_authors_results_come_with_their_caveats() -> None:
    done = run("compare", "--against", "authors")
    assert done.returncode == 0
    assert done.stdout.count("│ authors") == 134
    for caveat in ("chosen on the test set", "no average-pooling run"):
        assert caveat in done.stdout
    held = json.loads(run("compare", "--against", "authors", "--json").stdout)
    assert len(held["runs"]) == 134


@pytest.mark.slow
def test_nothing_fitting_is_3(tmp_path: Path) -> None:
    arguments = ["compare", "--pools", "avg", "--ram", "2KiB", "--out", "out", *QUICK]
    done = run(*arguments, "--json", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["tables"]["budget"][0]["label"] == "avg"
    other = run(*arguments[:-2], "--batch-size", "125", cwd=tmp_path)
    assert other.returncode == 2
    assert "holds results of another configuration (recipe.batch_size is 250 there, 125 here)" in other.stderr


@pytest.mark.slow
def test_a_whole_comparison(tmp_path: Path) -> None:
    """Real exports, training and measurement; one pooling, one table, one seed."""
    arguments = ["compare", "--pools", "avg", "--tables", "budget", "--ram", "40KiB", "--out", "out", *QUICK]
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 seed: not evidence" in done.stdout
    held = json.loads((tmp_path / "out" / "compare.json").read_text())
    (row,) = held["tables"]["budget"]
    record = json.loads((tmp_path / row["records"][0]).read_text())
    assert record["total_bytes"] == row["total_bytes"] <= 40 * 1024
    assert record["int8_test_accuracy"] == row["int8_test"][0]
    assert record["latency_ms"] > 0
    shown = run(*arguments, "--json", cwd=tmp_path)
    assert json.loads(shown.stdout)["tables"] == held["tables"]
    assert "training" not in shown.stderr


def test_the_papers_study_is_trained_by_the_authors_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    # The module's name in the package is the command's.
    monkeypatch.setattr(
        sys.modules["sapool.cli.compare"], "_run_study", lambda *given: asked.append(given[2]["recipe"])
    )
    study = ("compare", "--study", "imagenet-mobilenetv2", "--data", "imagenet:x")
    for recipe in ((), ("--recipe", "modern")):
        assert CliRunner().invoke(app, [*study, *recipe, "--epochs", "9"]).exit_code == 0
    assert asked == [read_recipe("authors-imagenet", epochs=9), read_recipe("modern", epochs=9)]
