from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest

from tests import shared


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(shared.VARIABLE, str(tmp_path))


def slow(part: Path) -> None:
    time.sleep(0.2)
    with (part.parent / "log").open("a") as log:
        log.write("made\n")
    part.write_text("whole")


def ask() -> None:
    assert shared.made_once("thing", slow).read_text() == "whole"


def test_processes_that_ask_at_once_make_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=ask) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "made\n"


def test_what_failed_is_made_again(tmp_path: Path) -> None:
    def fail(part: Path) -> None:
        part.write_text("half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        shared.made_once("thing", fail)
    assert shared.made_once("thing", lambda part: part.write_text("whole")).read_text() == "whole"


def test_results_are_kept_by_what_decides_them() -> None:
    calls: list[int] = []

    def square(number: int, note: str = "") -> int:
        calls.append(number)
        return number**2

    ask = shared.remembered(square, lambda number, note="": str(number))
    assert [ask(3), ask(3, "again"), ask(4), ask(3)] == [9, 9, 16, 9]
    assert calls == [3, 4]
