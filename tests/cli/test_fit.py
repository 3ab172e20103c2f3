from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.commands import run


@pytest.mark.slow
def test_fit_json_is_alone_on_stdout_and_nothing_fitting_is_3(tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["fit", "--input-size", "32", "--ram", "2KiB", "--pools", "strided", "--epochs", "1", "--out", str(out)]
    done = run(*arguments, "--json")
    assert done.returncode == 3, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["best"], summary["closest"]) == (None, "strided")
    assert "does not fit" in done.stderr
    shown = run(*arguments)
    assert shown.returncode == 3
    assert "nothing fits 2,048 bytes of RAM and 1,048,576 of flash; closest: strided with strides" in shown.stdout
    conflict = run(*arguments, "--seed", "1")
    assert conflict.returncode == 2
    assert "seed is 0 there, 1 here" in conflict.stderr


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    arguments = ["fit", "--input-size", "24", "--ram", "64KiB", "--pools", "strided", "--epochs", "12", "--out", "out"]
    # A runner started in the background hands on an ignored SIGINT; a user's terminal does not.
    heed = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from sapool.cli import main; main()"
    )
    command, pipe = [sys.executable, "-c", heed, *arguments], subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, stderr=pipe, stdout=pipe, text=True) as process:
        last = tmp_path / "out" / "strided" / "checkpoints" / "last.ckpt"
        deadline = time.monotonic() + 120
        while not last.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130, said
    assert "interrupted; the same command goes on where it stopped" in said
    assert "Traceback" not in said
    assert last.exists()
    assert not (tmp_path / "out" / "strided" / "record.json").exists()
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "best that fits" in done.stdout
    assert (tmp_path / "out" / "strided" / "model.h").exists()
