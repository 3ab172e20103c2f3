from __future__ import annotations

import json
from pathlib import Path

import pytest

from sapool.cli import main
from sapool.detection import load_boxes


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["sapool", "data", "make", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_it_writes_a_coco_folder_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "digits"
    arguments = ("scattered-digits", "--format", "coco", "--out", str(out), "--images", "10", "--input-size", "64")
    assert run(monkeypatch, *arguments, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["images"] == {"train": 10, "val": 2, "test": 2}
    data = load_boxes(str(out))
    assert (data.images_per_epoch, len(data.val), len(data.test)) == (10, 2, 2)
    assert data.num_classes == 10
    assert tuple(data.test[0][0].shape) == (3, 64, 64)
    assert run(monkeypatch, *arguments) == 2
    assert "instances_train.json exists" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("scattered-digit", "--out", "x"), "did you mean scattered-digits"),
        (("scattered-digits", "--out", "x", "--format", "voc"), "unknown format 'voc'"),
        (("scattered-digits", "--out", "x", "--images", "0"), "--images must be at least 1"),
        (("scattered-digits", "--out", "x", "--input-size", "30"), "sides must be multiples of 8 px"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *arguments) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
