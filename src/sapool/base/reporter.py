"""Reporting progress in lines: where there is no terminal to draw a bar on."""

from __future__ import annotations

import sys
from typing import TextIO


class LineReporter:
    """A :class:`~sapool.base.records.Reporter` that writes a line a stage, and while training a line every tenth.

    Args:
        stream: where to; standard error if None.

    Example:
        >>> reporter = LineReporter(sys.stdout)
        >>> reporter.stage("planning")
        planning
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream
        self._done = self._total = self._tenths = 0
        self._last = ""

    def stage(self, text: str) -> None:
        """Write a line."""
        stream = sys.stderr if self.stream is None else self.stream
        stream.write(f"{text}\n")
        stream.flush()

    def start(self, name: str, total: int) -> None:
        """Begin to count ``total`` steps."""
        self._done, self._total, self._tenths = 0, total, 0

    def advance(self, text: str = "") -> None:
        """Count a step; ``text`` is written where a tenth of them is done, unless it was written before."""
        self._done += 1
        tenths = self._done * 10 // self._total
        if text != self._last and tenths > self._tenths:
            self._tenths, self._last = tenths, text
            self.stage(f"  {text}")

    def finish(self) -> None:
        """Nothing is open."""
