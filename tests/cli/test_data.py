from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from sapool.cli import main
from sapool.training.data import DATA_SETS
from tests.training.data.written import write_classes


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["sapool", "data", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert isinstance(left.value.code, int)
    return left.value.code


def test_the_list_names_every_data_set(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "list") == 0
    said = capsys.readouterr().out
    assert all(name in said for name in DATA_SETS)
    assert run(monkeypatch, "list", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(DATA_SETS)
    assert all(row["expected on disk"] and row["looked for"] for row in rows)


def test_a_check_finds_what_is_damaged_and_what_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_classes(tmp_path / "train", {"a": 30, "b": 10})
    write_classes(tmp_path / "val", {"a": 3, "b": 3}, seed=100)
    assert run(monkeypatch, "check", str(tmp_path), "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["format"], report["classes"], report["shared"]) == ("imagenet", ["a", "b"], {})
    assert [row["images"] for row in report["splits"]] == [36, 4, 6]
    assert report["splits"][0]["sizes"] == {"3x12x10": 36}
    assert [report["splits"][0][f"{which}_of_a_class"] for which in ("fewest", "most")] == [9, 27]

    (tmp_path / "val" / "a" / "000.png").write_bytes(b"")
    assert run(monkeypatch, "check", str(tmp_path)) == 2
    said = capsys.readouterr()
    assert "3x12x10" in said.out
    assert "val/a/000.png: damaged image: not an image" in said.err

    (tmp_path / "val" / "a" / "000.png").write_bytes((tmp_path / "train" / "a" / "000.png").read_bytes())
    (tmp_path / "val" / "b" / "000.png").write_bytes((tmp_path / "train" / "b" / "000.png").read_bytes())
    assert run(monkeypatch, "check", str(tmp_path), "--json") == 2
    shared = json.loads(capsys.readouterr().out)["shared"]
    assert sum(shared.values()) == 2
    assert set(shared) <= {"train and test", "val and test"}


def test_an_unknown_name_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "check", "stl11") == 2
    assert capsys.readouterr().err == "sapool: unknown data set 'stl11': did you mean stl10?\n"
