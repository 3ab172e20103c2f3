"""The command line, run inside the test's own process: the imports of a process of its own cost seconds a call."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from sapool import cli


@dataclass(frozen=True)
class Done:
    """How a command ended: what ``subprocess.CompletedProcess`` says of one in a process of its own."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str, cwd: Path | None = None) -> Done:
    """Run ``sapool ARGUMENTS`` in the folder ``cwd``; an error that the command line lets through is raised here."""
    out, said = io.StringIO(), io.StringIO()
    with (
        mock.patch("sys.argv", ["sapool", *arguments]),
        mock.patch.dict("os.environ", {"COLUMNS": "100", "NO_COLOR": "1"}),
        contextlib.chdir(cwd or Path.cwd()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(said),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")  # shown, as to a user; the tests' own setting makes errors of them
        for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", kind)
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
    return Done(code if isinstance(code, int) else 1, out.getvalue(), said.getvalue())
