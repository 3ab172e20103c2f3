from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sapool.base.budget import Budget
from sapool.export import measure_arena
from sapool.workflows import running
from sapool.workflows.fit import fit
from tests.workflows.fit.quick import QUICK


@pytest.mark.slow
def test_a_smaller_image_and_pruning_are_ways_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(QUICK, input_size=48, input_sizes=(32,), pools=("avg",), prune=1)
    summary = fit(config, tmp_path / "out")
    assert [way.name for way in summary.ways] == ["avg", "avg-32px", "avg-pruned"]
    small, pruned = summary.runs[1], summary.runs[2]
    assert small.plan.input_size == (3, 32, 32)
    assert all(run.fits and config.budget.fits(run) for run in summary.runs)
    # Pruned from the strides before those that fit: later down-sampling, fewer channels.
    assert list(pruned.strides) == summary.runs[0].tried[-2]["strides"]
    assert pruned.parameters < summary.runs[0].parameters
    assert measure_arena(tmp_path / "out" / "avg-pruned" / "model.tflite").total_bytes == pruned.total_bytes
    names = [step.name for step in summary.ways[2].savings]
    assert names == ["", "down-sampling", "pruning", "exact rewrites", "tiling"]
    assert [step.name for step in summary.ways[1].savings][1] == "input size"
    assert Budget(config.ram_bytes).fits(summary.ways[2].savings[-1])

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
