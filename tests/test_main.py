"""What only a process of its own shows: its exit code, what goes where, and that nothing but one line is said."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

import sapool
from sapool import cli


@pytest.mark.parametrize(
    ("arguments", "code", "out", "said"),
    [
        (["--help"], 0, "Start with: sapool fit", ""),
        (["measure", "nothing.tflite"], 2, "", "sapool: nothing.tflite: no such file\n"),
        (["fitt"], 2, "", "sapool: No such command 'fitt'"),
    ],
)
def test_it_is_the_command_line(arguments: list[str], code: int, out: str, said: str) -> None:
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "sapool", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == code
    assert out in done.stdout
    assert bool(done.stdout) == bool(out)
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == bool(said)


def test_the_installed_command_is_the_same_one() -> None:
    (script,) = (point for point in entry_points(group="console_scripts") if point.name == sapool.__name__)
    assert script.load() is cli.main


@pytest.mark.parametrize("code", ["import sapool", "import sapool.cli"])
def test_nothing_slow_is_imported_before_a_command_is_chosen(code: str) -> None:
    command = [sys.executable, "-c", f"{code}, sys; print(*{{'torch', 'numpy', 'lightning'}} & set(sys.modules))"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
