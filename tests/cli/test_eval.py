from __future__ import annotations

import json
from pathlib import Path

import pytest

from sapool.cli.eval import _plain, _show
from sapool.workflows.evaluate import Evaluation
from tests.cli.commands import run


def found(classes: int, **changes: float | None) -> Evaluation:
    """Eight of ten images of each class found, the others taken for the next class."""
    confusion = tuple(
        tuple(8 if row == column else 2 if column == (row + 1) % classes else 0 for column in range(classes))
        for row in range(classes)
    )
    held = {"float_accuracy": 0.9, "agreement": 0.75, "milliseconds": 1.5} | changes
    return Evaluation("m", "d", "test", "litert", tuple(map(str, range(classes))), confusion, **held)  # type: ignore[arg-type]


def test_it_says_accuracy_interval_float_and_each_class(capsys: pytest.CaptureFixture[str]) -> None:
    _show(found(4))
    shown = " ".join(capsys.readouterr().out.split())
    assert "int8 accuracy 80.0% (95 % interval 65.2% to 89.5%) on 40 images of d, test, by litert" in shown  # Wilson
    assert "float accuracy 90.0%; both answer alike on 75.0%" in shown
    assert "1.50 ms" in shown
    assert "guessing" not in shown
    assert "rows: what it is; columns: what was answered" in shown


def test_without_a_float_network_and_with_many_classes_it_is_shorter(capsys: pytest.CaptureFixture[str]) -> None:
    _show(found(13, float_accuracy=None, agreement=None))
    shown = capsys.readouterr().out
    assert "each class" in shown
    assert "float" not in shown
    assert "columns" not in shown


def test_json_has_the_shares_too() -> None:
    plain = json.loads(json.dumps(_plain(found(2))))
    assert (plain["images"], plain["accuracy"], plain["guessing"]) == (20, 0.8, False)
    assert plain["confusion"] == [[8, 2], [2, 8]]
    assert plain["recalls"] == plain["precisions"] == [0.8, 0.8]


@pytest.mark.slow
def test_the_folder_and_the_file_agree(fitted: Path) -> None:
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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing.tflite", "--data", "pictures"), "nothing.tflite: no such file"),
        (("out/none.tflite",), "name --data"),
        (("x.tflite", "--data", "pictures", "--engine", "tfl"), "--engine must be litert or tflm, got 'tfl'"),
        (("x.tflite", "--data", "pictures", "--split", "all"), "--split must be test or val or train, got 'all'"),
        (("x.tflite", "--data", "pictures", "--mean", "a"), "--mean must be a number"),
        (("pictures", "--mean", "0.5"), "pictures knows its own --mean and --std: leave them out"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(home: Path, arguments: tuple[str, ...], said: str) -> None:
    done = run("eval", *arguments, cwd=home)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert done.stderr.strip().count("\n") == 0
    assert done.stdout == ""
