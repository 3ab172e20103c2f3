from __future__ import annotations

import json
from pathlib import Path

import pytest

from sapool.passes import FILE_PASSES, PASSES
from tests.cli.commands import run


def test_measure_prints_and_judges(exported: Path, tmp_path: Path) -> None:
    done = run("measure", str(exported), "--ram", "1MiB")
    assert done.returncode == 0
    assert "fits 1,048,576 bytes of RAM" in done.stdout
    assert run("measure", str(exported), "--ram", "1KiB").returncode == 3
    measured = json.loads(run("measure", str(exported), "--json").stdout)
    assert measured["total_bytes"] == measured["head_bytes"] + measured["tail_bytes"]


@pytest.mark.slow
def test_export_then_measure(tmp_path: Path) -> None:
    out = tmp_path / "tiny.tflite"
    done = run("export", "sapool:tiny", "--input-size", "32", "--out", str(out), "--json")
    assert done.returncode == 0, done.stderr
    held = json.loads(done.stdout)
    assert held["arena"]["flash_bytes"] == out.stat().st_size == held["export"]["flash_bytes"]
    assert "untrained" in done.stderr
    assert json.loads(run("measure", str(out), "--json").stdout) == held["arena"]


def test_boards_and_passes_are_listed() -> None:
    assert "nano33ble" in run("boards").stdout
    listed = run("export", "sapool:tiny", "--passes", "list").stdout
    assert all(name in listed for name in (*PASSES, *FILE_PASSES))
