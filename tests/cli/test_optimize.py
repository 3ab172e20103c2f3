from __future__ import annotations

import json
from pathlib import Path

import pytest

from sapool.export import export_int8, measure_arena
from tests.cli.commands import run
from tests.conftest import images, pooled_net


@pytest.mark.slow
def test_optimize_writes_a_leaner_file_with_the_same_bits(tmp_path: Path) -> None:
    net, path = pooled_net(patch_size=1), tmp_path / "net.tflite"
    export_int8(net, [images(8)], path, passes="none")
    done = run("optimize", str(path), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["after"]["total_bytes"] < told["before"]["total_bytes"]
    assert measure_arena(tmp_path / "net.lean.tflite").total_bytes == told["after"]["total_bytes"]
    again = run("optimize", str(path))
    assert (again.returncode, "net.lean.tflite exists" in again.stderr) == (2, True)
