from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sapool.workflows.compare.board import Board, Job, Results

WORKER = """
import sys, time
from sapool.workflows.compare.board import Board, Job
from pathlib import Path
url, log, seconds, count = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
jobs = [Job(f"job{i}", {"number": i}) for i in range(count)]
def do(job, finished):
    with log.open("a") as file:
        file.write(job.key + "\\n")
    time.sleep(seconds)
    return {"value": job.spec["number"]}
found = Board(url, "study", 1).work(lambda finished: jobs, do)
print(sorted((key, outcome["value"]) for key, outcome in found.items()))
"""


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder / 'study.db'}"


def start(folder: Path, seconds: float, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, url_of(folder), str(folder / "log"), str(seconds), str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def jobs(count: int) -> list[Job]:
    return [Job(f"job{i}", {"number": i}) for i in range(count)]


CLAIMER = """
import sys, time
from sapool.workflows.compare.board import Board
board = Board(sys.argv[1], "study", 60)
study = board._study
while time.time() < float(sys.argv[2]):
    time.sleep(0.001)
trials = [study._pop_waiting_trial_id() for _ in range(40)]
print(" ".join(str(trial) for trial in trials if trial is not None))
"""


@pytest.mark.slow
def test_a_job_is_claimed_by_one_worker_alone(tmp_path: Path) -> None:
    """Without a lock from the start of a transaction, SQLite gives some jobs to two."""
    board = Board(url_of(tmp_path), "study")
    for number in range(40):
        board._study.enqueue_trial({}, user_attrs={"job": f"job{number}", "spec": "{}"})
    command = [sys.executable, "-c", CLAIMER, url_of(tmp_path), str(time.time() + 6)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    claimed = [worker.communicate(timeout=300)[0].split() for worker in workers]
    assert sorted(int(trial) for trials in claimed for trial in trials) == list(range(1, 41))


@pytest.mark.slow
def test_workers_that_start_at_once_do_every_job_once(tmp_path: Path) -> None:
    workers = [start(tmp_path, 0.05, 6) for _ in range(2)]
    said = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert len({out for out, _ in said}) == 1
    assert sorted((tmp_path / "log").read_text().split()) == sorted(job.key for job in jobs(6))


@pytest.mark.slow
def test_a_killed_workers_job_is_taken_up(tmp_path: Path) -> None:
    log = tmp_path / "log"
    worker = start(tmp_path, 600, 2)
    deadline = time.monotonic() + 120
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    worker.kill()
    worker.communicate()
    done: list[str] = []

    def do(job: Job, finished: Results) -> dict[str, Any]:
        done.append(job.key)
        return {"value": 1.0}

    found = Board(url_of(tmp_path), "study", 1).work(lambda finished: jobs(2), do)
    assert sorted(found) == ["job0", "job1"]
    assert sorted(done) == ["job0", "job1"]
    assert log.read_text().split() == ["job0"]


def test_outcomes_may_ask_for_more_and_are_kept(tmp_path: Path) -> None:
    done: list[str] = []

    def wanted(finished: Results) -> list[Job]:
        return jobs(2) if "job0" in finished else jobs(1)

    def do(job: Job, finished: Results) -> dict[str, Any]:
        done.append(job.key)
        return {"value": 0.0, "seen": sorted(finished)}

    found = Board(url_of(tmp_path), "study").work(wanted, do)
    assert found["job1"]["seen"] == ["job0"]
    again = Board(url_of(tmp_path), "study").work(wanted, do)
    assert again == found
    assert done == ["job0", "job1"]
    # Another study in the same database is another board.
    assert Board(url_of(tmp_path), "other").results() == {}


def test_a_job_that_fails_goes_back(tmp_path: Path) -> None:
    board = Board(url_of(tmp_path), "study")

    def fail(job: Job, finished: Results) -> dict[str, Any]:
        raise ValueError("the disk is full")

    with pytest.raises(ValueError, match="the disk is full"):
        board.work(lambda finished: jobs(1), fail)
    assert board.results() == {}
    assert board.work(lambda finished: jobs(1), lambda job, finished: {"value": 3.0})["job0"]["value"] == 3.0


def test_twins_are_done_once(tmp_path: Path) -> None:
    """Two workers looked at the board at once, and both put the job up."""
    board = Board(url_of(tmp_path), "study")
    for _ in range(2):
        board._study.enqueue_trial({}, user_attrs={"job": "job0", "spec": '{"number": 0}'})
    done: list[str] = []

    def do(job: Job, finished: Results) -> dict[str, Any]:
        done.append(job.key)
        return {}

    board.work(lambda finished: jobs(2), do)
    assert done == ["job0", "job1"]


def test_without_waiting_what_others_do_is_left_to_them(tmp_path: Path) -> None:
    board = Board(url_of(tmp_path), "study")
    board._study.enqueue_trial({}, user_attrs={"job": "job0", "spec": "{}"})
    other = board._study.ask  # claims without a heartbeat: as a worker that has just started
    with pytest.warns(UserWarning, match="Heartbeat"):
        other()
    found = board.work(lambda finished: jobs(2), lambda job, finished: {"did": job.key}, wait=False)
    assert sorted(found) == ["job1"]


@pytest.mark.parametrize("url", ["sqlite:////nowhere/at/all/study.db", "nonsense", "sqlite:///{}/text.db"])
def test_a_storage_that_cannot_be_opened_is_one_line(url: str, tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("this is no database, but a text that is long enough to be looked at" * 20)
    with pytest.raises(ValueError, match=r"the storage .* can't be opened: .+") as caught:
        Board(url.format(tmp_path), "study")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["text.db"]


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000, '{"value": 1e999}'])
def test_a_damaged_job_is_named(tmp_path: Path, text: str) -> None:
    board = Board(url_of(tmp_path), "mine")
    board._study.enqueue_trial({}, user_attrs={"job": "job0", "spec": text})
    with pytest.raises(ValueError, match="study mine, trial 0: its 'spec' is damaged") as raised:
        board.work(lambda finished: jobs(1), lambda job, finished: {})
    assert "\n" not in str(raised.value)


def test_trials_of_another_program_are_no_jobs(tmp_path: Path) -> None:
    board = Board(url_of(tmp_path), "shared")
    board._study.add_trial(board._optuna.trial.create_trial(value=1.0))
    assert board.results() == {}
