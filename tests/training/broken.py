"""Breaking a training off, and comparing what came of it."""

from __future__ import annotations

from dataclasses import replace

from sapool.base.records import TrainRecord


class StopError(Exception):
    """Stands for a kill."""


class StopAfter:
    """A reporter that ends the run after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.told: list[str] = []

    def stage(self, text: str) -> None:
        self.told.append(text)

    def start(self, name: str, total: int) -> None:
        self.told.append(f"{name} {total}")

    def advance(self, text: str = "") -> None:
        if text:
            self.left -= 1
        if self.left == 0:
            raise StopError

    def finish(self) -> None:
        self.told.append("done")


def untimed(record: TrainRecord) -> TrainRecord:
    return replace(record, train_seconds=0, images_per_second=0)
