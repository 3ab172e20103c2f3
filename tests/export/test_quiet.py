from __future__ import annotations

import os

import pytest

from sapool.export._quiet import captured_output


def test_what_native_code_prints_is_kept_and_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with captured_output() as said:
        os.write(1, b"to standard output\n")
        os.write(2, b"to standard error\n")
        assert said() == "to standard output\nto standard error\n"
    os.write(1, b"shown")
    assert capfd.readouterr() == ("shown", "")


def test_the_streams_come_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), captured_output():
        raise RuntimeError
    os.write(2, b"shown")
    assert capfd.readouterr() == ("", "shown")
