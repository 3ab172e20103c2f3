from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from sapool.base.records import RunRecord
from sapool.export import measure_arena
from sapool.workflows import running
from sapool.workflows.fit import FolderConflictError, fit
from sapool.workflows.folder import FIT, RunFolder
from tests.workflows.fit.quick import QUICK


@pytest.mark.slow
def test_a_fit_writes_what_it_promises(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["best"] in QUICK.pools
    assert summary["closest"] is None
    for pool in QUICK.pools:
        run = RunRecord.from_json((finished / pool / "record.json").read_text())
        assert run.fits
        assert run.total_bytes == run.head_bytes + run.tail_bytes
        assert QUICK.budget.fits(run)
        path = finished / pool / "model.tflite"
        assert measure_arena(path).total_bytes == run.total_bytes
        assert path.stat().st_size == run.flash_bytes
        assert run.parity_steps is not None
        assert run.parity_steps <= running.PARITY_LIMIT_STEPS
        assert run.parity_images == 16
        header = (finished / pool / "model.h").read_text()
        reserve = re.search(r"#define SAPOOL_ARENA_BYTES_64BIT (\d+)", header)
        assert reserve
        assert int(reserve[1]) >= run.arena_bytes
        assert f"sapool_model_len = {run.flash_bytes};" in header
        assert {"torch", "tflite-micro", "commit", "device"} <= run.environment.keys()
        assert run.config["seed"] == 0
        assert run.tried[-1]["strides"] == list(run.strides)
    best = max(summary["runs"], key=lambda run: (run["int8_val_accuracy"], -run["total_bytes"]))
    assert best["pool"] == summary["best"]


@pytest.mark.slow
def test_the_same_call_reads_what_is_finished(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("nothing is left to do")

    before = (finished / "summary.json").read_text()
    monkeypatch.setattr(running, "train", never)
    monkeypatch.setattr(running, "export_int8", never)
    assert fit(QUICK, finished).runs[0].pool == "self_attentive"
    assert json.loads((finished / "summary.json").read_text())["runs"] == json.loads(before)["runs"]


def test_a_second_fit_in_a_folder_at_work_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with (
        RunFolder(folder, FIT).claimed(asdict(QUICK)),
        pytest.raises(FolderConflictError, match="out: another process is at work in it"),
    ):
        fit(QUICK, folder)
    assert [path.name for path in folder.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"input_size": 20}, "canvas must be at least 24 px"),
        ({"data": "mnist"}, "unknown data set 'mnist'"),
        ({"model": "timm:mobilnetv2_035"}, "did you mean timm:mobilenetv2"),
        ({"model": "timm:vit_tiny_patch16_224"}, "can't take an input|has no down-sampling|can't trace"),
    ],
)
def test_mistakes_that_need_a_look_leave_nothing_behind(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        fit(replace(QUICK, **changes), tmp_path / "out")
    assert not (tmp_path / "out").exists()
