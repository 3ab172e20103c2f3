from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sapool.base.records import RunRecord
from sapool.export import measure_arena
from sapool.workflows import running
from sapool.workflows.fit import FitConfig, FolderConflictError, claim_folder, fit

QUICK = FitConfig(input_size=32, ram_bytes=40 * 1024, pools=("self_attentive", "strided"), epochs=1, batch_size=250)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit") / "out"
    fit(QUICK, folder)
    return folder


@pytest.mark.slow
def test_a_fit_writes_what_it_promises(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["best"] in QUICK.pools
    assert summary["closest"] is None
    for pool in QUICK.pools:
        run = RunRecord.from_json((finished / pool / "record.json").read_text())
        assert run.fits
        assert run.total_bytes == run.head_bytes + run.tail_bytes <= QUICK.ram_bytes
        path = finished / pool / "model.tflite"
        assert measure_arena(path).total_bytes == run.total_bytes
        assert path.stat().st_size == run.flash_bytes
        assert run.parity_steps is not None
        assert run.parity_steps <= running.PARITY_LIMIT_STEPS
        assert run.parity_images == 16
        header = (finished / pool / "model.h").read_text()
        reserve = re.search(r"#define SAPOOL_ARENA_BYTES (\d+)", header)
        assert reserve
        assert int(reserve[1]) >= run.total_bytes
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


def test_a_folder_of_another_configuration_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    claim_folder(folder, QUICK)
    claim_folder(folder, QUICK)
    with pytest.raises(
        FolderConflictError, match=r"another configuration \(epochs is 1 there, 2 here\); choose another"
    ):
        claim_folder(folder, replace(QUICK, epochs=2))
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("precious")
    with pytest.raises(FolderConflictError, match="is no folder of sapool fit"):
        claim_folder(other, QUICK)
    (folder / "config.json").write_text("{")
    with pytest.raises(FolderConflictError, match="is not JSON"):
        claim_folder(folder, QUICK)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pools": ()}, "at least one pooling, each once, got none"),
        ({"pools": ("avg", "avg")}, "each once, got avg, avg"),
        ({"pools": ("avgg",)}, r"unknown pooling 'avgg': did you mean avg\?"),
        ({"ram_bytes": 0}, "at least 1 byte"),
        ({"input_size": 0}, "input_size must be at least 1"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"input_sizes": (48, 32)}, r"not input_size \(32\), got 48, 32"),
        ({"input_sizes": (0,)}, "input_size must be at least 1"),
        ({"prune": 3}, r"0 to the number of poolings \(2\), got 3"),
    ],
)
def test_bad_configurations_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(QUICK, **changes)


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


def test_the_default_folder_is_named_after_data_model_and_budget() -> None:
    assert str(QUICK.default_folder()) == "runs/scattered-digits_sapool-tiny_32px_40KiB"
    assert FitConfig(ram_bytes=1000).default_folder().name.endswith("_1000B")
    assert str(FitConfig(data="cifar10:/data/cifar").default_folder()).startswith(
        "runs/cifar10--data-cifar_sapool-tiny"
    )


@pytest.mark.slow
def test_damaged_files_are_named(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    for name, text in (("record.json", "{"), ("candidates.json", '[{"a": 1}]')):
        shutil.copytree(finished, folder, dirs_exist_ok=True)
        (folder / "strided" / name).write_text(text)
        with pytest.raises(ValueError, match=rf"strided/{name} is damaged .*: remove it"):
            fit(QUICK, folder)


@pytest.mark.slow
def test_a_smaller_image_and_pruning_are_ways_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(QUICK, input_size=48, input_sizes=(32,), pools=("avg",), prune=1)
    summary = fit(config, tmp_path / "out")
    assert [way.name for way in summary.ways] == ["avg", "avg-32px", "avg-pruned"]
    small, pruned = summary.runs[1], summary.runs[2]
    assert small.plan.input_size == (3, 32, 32)
    assert all(run.fits and run.total_bytes <= config.ram_bytes for run in summary.runs)
    # Pruned from the strides before those that fit: later down-sampling, fewer channels.
    assert list(pruned.strides) == summary.runs[0].tried[-2]["strides"]
    assert pruned.parameters < summary.runs[0].parameters
    assert measure_arena(tmp_path / "out" / "avg-pruned" / "model.tflite").total_bytes == pruned.total_bytes
    names = [step.name for step in summary.ways[2].savings]
    assert names == ["", "down-sampling", "pruning", "exact rewrites", "tiling"]
    assert [step.name for step in summary.ways[1].savings][1] == "input size"
    assert summary.ways[2].savings[-1].total_bytes <= config.ram_bytes

    def never(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("nothing is left to do")

    for name in ("train", "export_int8"):
        monkeypatch.setattr(running, name, never)
    monkeypatch.setattr("sapool.pruning.tuning.train", never)
    again = fit(config, tmp_path / "out")
    assert again.ways == summary.ways
    assert again.best == summary.best


@pytest.mark.slow
def test_what_no_strides_make_fit_is_pruned_without_being_asked(tmp_path: Path) -> None:
    summary = fit(replace(QUICK, ram_bytes=18 * 1024, pools=("strided",)), tmp_path / "out")
    assert [(way.name, run.fits) for way, run in zip(summary.ways, summary.runs, strict=True)] == [
        ("strided", False),
        ("strided-pruned", True),
    ]
    assert summary.best == "strided-pruned"
    assert summary.runs[1].total_bytes <= 18 * 1024
