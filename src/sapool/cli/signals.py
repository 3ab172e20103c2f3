"""SIGTERM ends a command in the same order as Ctrl-C does; the exit code says which of the two it was."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM


@contextmanager
def terminable() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM into a KeyboardInterrupt inside; what is yielded says whether there was one."""
    if threading.current_thread() is not threading.main_thread():  # only it may set handlers
        yield lambda: False
        return
    received: list[int] = []
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a child that was forked off
            os._exit(TERMINATED)
        received.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield lambda: bool(received)
    finally:
        signal.signal(signal.SIGTERM, before)
