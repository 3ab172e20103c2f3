from __future__ import annotations

import json
from pathlib import Path

from tests.cli.commands import run


def test_profile_shows_arena_and_timeline_and_judges_a_board(exported: Path, tmp_path: Path) -> None:
    done = run("profile", str(exported), "--board", "nano33ble", "--every")
    assert done.returncode == 0, done.stderr
    assert all(text in done.stdout for text in ("head (activations", "block in+out", "█", "nano33ble: fits"))
    told = json.loads(run("profile", str(exported), "--json", "--target", "cortex-m7").stdout)
    assert told["profile"]["head_bytes"] + told["profile"]["tail_bytes"] == told["profile"]["total_bytes"]
    assert told["verdict"]["target"] == "cortex-m7"
    too_large = run("profile", "sapool:tiny", "--input-size", "96", "--board", "arduino-uno")
    assert too_large.returncode in (2, 3)
    both = run("profile", str(exported), "--board", "nano33ble", "--target", "cortex-m4")
    assert (both.returncode, both.stderr.count("\n")) == (2, 1)
