from __future__ import annotations

import io

import pytest

from sapool.base.records import Reporter
from sapool.base.reporter import LineReporter


def test_a_line_a_stage_and_one_every_tenth() -> None:
    stream = io.StringIO()
    reporter: Reporter = LineReporter(stream)
    reporter.stage("planning")
    reporter.start("training", 40)
    for step in range(40):
        reporter.advance(f"step {step + 1}")
    reporter.finish()
    assert stream.getvalue().splitlines() == ["planning", *(f"  step {4 * tenth}" for tenth in range(1, 11))]


def test_the_same_text_is_written_once() -> None:
    stream = io.StringIO()
    reporter = LineReporter(stream)
    reporter.start("training", 10)
    for _ in range(10):
        reporter.advance("epoch 1")
    assert stream.getvalue() == "  epoch 1\n"


def test_without_a_stream_it_is_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    LineReporter().stage("planning")
    assert capsys.readouterr() == ("", "planning\n")
