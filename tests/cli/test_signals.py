from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from sapool import cli
from tests.cli.commands import run


def receiving(number: signal.Signals) -> Callable[..., None]:
    def app(**_: object) -> None:
        os.kill(os.getpid(), number)

    return app


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command_with_one_line_and_its_code(
    number: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    heeded = signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
    monkeypatch.setattr(cli, "app", receiving(number))
    try:
        done = run("boards")
    finally:
        signal.signal(signal.SIGINT, heeded)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "sapool: interrupted\n")
    assert signal.getsignal(signal.SIGTERM) is before
