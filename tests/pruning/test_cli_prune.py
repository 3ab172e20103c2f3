from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sapool.base.records import PoolingPlan
from sapool.networks.load import load_model
from sapool.planning.surgery import apply_plan
from sapool.predict.profile import profile_memory
from sapool.pruning import load_pruned


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sapool.cli", "prune", *arguments]
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment)


@pytest.mark.slow
def test_prune_writes_what_load_pruned_reads(tmp_path: Path) -> None:
    arguments = ("sapool:tiny", "--input-size", "32", "--pool", "avg", "--strides", "4,2,2,2", "--ratio", "0.4")
    done = run(*arguments, "--passes", "none", "--exclude", "stem,head", "--out", "small", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    folder = tmp_path / "small"
    plan = PoolingPlan.from_json((folder / "plan.json").read_text())
    pruned = load_pruned(apply_plan(load_model("sapool:tiny", 10), plan).model, folder)
    assert record["after"]["total_bytes"] == profile_memory(pruned, 32, passes="none").total_bytes
    assert record["after"]["parameters"] == sum(p.numel() for p in pruned.parameters())
    assert pruned.eval()(torch.rand(1, 3, 32, 32)).shape == (1, 10)
    again = run(*arguments, "--out", "small", cwd=tmp_path)
    assert again.returncode == 2
    assert "small is not empty" in again.stderr
    more = run("sapool:tiny", "--input-size", "32", "--macs", "600k", "--passes", "none", "--out", "x", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert "multiply-accumulates" in more.stdout
    assert "blocks.0.expand.0" in more.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "exactly one of ratio, ram_bytes and macs, got none"),
        (("--ratio", "2"), "ratio must be over 0 and under 1, got 2.0"),
        (("--macs", "many"), "not a count: 'many'"),
        (("--ratio", "0.5", "--exclude", "stm"), "did you mean stem"),
        (("--ratio", "0.5", "--plan", "no.json", "--pool", "avg"), "--plan excludes --pool and --strides"),
        (("--ratio", "0.5", "--weights", "no.safetensors"), "no.safetensors: no such file"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = run("sapool:tiny", "--out", "small", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
