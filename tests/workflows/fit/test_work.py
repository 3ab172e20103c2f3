from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sapool.base.records import RunRecord
from sapool.workflows import running
from sapool.workflows.fit import fit
from tests.workflows.fit.quick import QUICK


@pytest.mark.slow
def test_a_model_that_was_cut_off_is_made_again_without_training(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(finished, folder)
    model = folder / "strided" / "model.tflite"
    whole = model.read_bytes()
    model.write_bytes(whole[:3000])
    monkeypatch.setattr(running, "train", None)
    fit(QUICK, folder)
    assert model.read_bytes() == whole


@pytest.mark.slow
def test_an_interrupted_fit_goes_on_without_training_again(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between training and export: the weights are there, the record is not."""
    folder = tmp_path / "out"
    shutil.copytree(finished, folder)
    held = RunRecord.from_json((folder / "strided" / "record.json").read_text())
    (folder / "strided" / "record.json").unlink()
    (folder / "summary.json").unlink()
    (folder / "strided" / "model.tflite").unlink()
    monkeypatch.setattr(running, "train", None)
    run = fit(QUICK, folder).runs[1]
    assert (folder / "strided" / "model.tflite").is_file()
    for name in ("float_test_accuracy", "int8_test_accuracy", "total_bytes", "best_epoch"):
        assert getattr(run, name) == getattr(held, name)


@pytest.mark.slow
def test_what_cannot_fit_is_not_trained_and_the_closest_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "train", None)
    summary = fit(replace(QUICK, ram_bytes=2048, pools=("strided",)), tmp_path / "out")
    assert summary.best is None
    assert summary.closest == "strided"
    run, hopeless = summary.runs
    assert not hopeless.fits
    assert not run.fits
    assert run.float_test_accuracy is None
    assert len(run.tried) == 4
    assert run.total_bytes == min(rung["total_bytes"] for rung in run.tried)
    assert not (tmp_path / "out" / "strided" / "model.tflite").exists()


@pytest.mark.slow
def test_damaged_files_are_named(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    for name, text in (
        ("record.json", "{"),
        ("candidates.json", '[{"a": 1}]'),
        ("candidates.json", "[" * 100_000),
        ("savings.json", '[{"head_bytes": "many", "tail_bytes": 1}]'),
    ):
        shutil.copytree(finished, folder, dirs_exist_ok=True)
        (folder / "strided" / name).write_text(text)
        with pytest.raises(ValueError, match=rf"strided/{name} is damaged .*: remove it"):
            fit(QUICK, folder)
