"""The jobs of a study on a shared board (an optuna study): each done once, by whichever worker is free."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sapool.base.extras import require
from sapool.base.reading import ReadingError, parse_record

HEARTBEAT_SECONDS = 15
# A worker that has not been heard of for so many heartbeats is counted as dead.
_GRACE_BEATS = 4
_POLL_SECONDS = 1.0
_TRIES = 20

Results = Mapping[str, dict[str, Any]]


@dataclass(frozen=True)
class Job:
    """One piece of work: ``key`` says which, ``spec`` (JSON) holds all that a worker needs besides the study."""

    key: str
    spec: Mapping[str, Any]


class Board:
    """Jobs in an optuna study: a trial each, WAITING until a worker claims it, its outcome in an attribute.

    Two workers may put up the same job at once: of two trials with one key only the first counts. A worker that dies
    stops its heartbeat; its trial then fails, and the job is put up again.

    Args:
        url: a database that sqlalchemy knows: ``sqlite:///study.db``, ``postgresql://...``.
        name: of the study in that database.
        heartbeat_seconds: how often a worker is heard of.

    Raises:
        ValueError: the database can't be opened.
        ImportError: optuna, or the database's driver, is not installed.
    """

    def __init__(self, url: str, name: str, heartbeat_seconds: int = HEARTBEAT_SECONDS) -> None:
        self._optuna = require("optuna", "search", "comparing poolings")
        self._optuna.logging.set_verbosity(self._optuna.logging.ERROR)
        self._late = False
        self._study = self._open(url, name, heartbeat_seconds)

    def _open(self, url: str, name: str, heartbeat_seconds: int) -> Any:
        errors = require("sqlalchemy.exc", "search", "comparing poolings")
        for attempt in range(_TRIES):
            try:
                return self._connect(url, name, heartbeat_seconds)
            except (errors.OperationalError, errors.IntegrityError, errors.ProgrammingError) as error:
                # Workers that start at once make the same tables: all but the first look again.
                said = str(error.orig)
                if attempt == _TRIES - 1 or not ("exists" in said or "locked" in said or "UNIQUE" in said):
                    raise ValueError(f"the storage {url} can't be opened: {_one_line(said)}") from None
                time.sleep(0.1)
            except ImportError:  # optuna's own message names neither the database nor what to do
                raise ImportError(
                    f"the storage {url} needs its database's Python driver: install it (psycopg2-binary, pymysql)"
                ) from None
            except (errors.SQLAlchemyError, RuntimeError) as error:
                raise ValueError(f"the storage {url} can't be opened: {_one_line(str(error))}") from None
        raise AssertionError("the last attempt returns or raises")

    def _connect(self, url: str, name: str, heartbeat_seconds: int) -> Any:
        waiting = {"connect_args": {"timeout": 100}} if url.startswith("sqlite") else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
            storage = self._optuna.storages.RDBStorage(
                url,
                engine_kwargs=waiting,
                heartbeat_interval=heartbeat_seconds,
                grace_period=heartbeat_seconds * _GRACE_BEATS,
            )
        if url.startswith("sqlite"):
            _make_transactions_exclusive(storage.engine)
        sampler = self._optuna.samplers.RandomSampler(seed=0)
        try:
            return self._optuna.create_study(storage=storage, sampler=sampler, study_name=name, direction="maximize")
        except self._optuna.exceptions.DuplicatedStudyError:
            return self._optuna.load_study(storage=storage, sampler=sampler, study_name=name)

    def work(
        self,
        wanted: Callable[[Results], Sequence[Job]],
        do: Callable[[Job, Results], dict[str, Any]],
        *,
        wait: bool = True,
    ) -> Results:
        """Do what nobody else does until everything wanted is done; return all outcomes by key.

        Args:
            wanted: all jobs that the outcomes so far ask for, the finished ones among them.
            do: does one; its outcome must be JSON, and its ``"value"`` (a number) is shown by optuna's own tools.
            wait: for what other workers have in hand; else leave as soon as there is nothing to claim.

        Raises:
            KeyboardInterrupt: Ctrl-C; the job goes back on the board with the next call.
            Exception: whatever ``do`` raises; that job as well goes back.
        """
        while True:
            self._fail_stale()
            finished = self.results()
            jobs = wanted(finished)
            if all(job.key in finished for job in jobs):
                return finished
            self._put_up(jobs)
            if self._count("WAITING"):
                self._claim_one(do, finished)
            elif wait:
                time.sleep(_POLL_SECONDS)
            else:
                return finished

    def results(self) -> dict[str, dict[str, Any]]:
        """Return the outcome of every finished job."""
        complete = self._optuna.trial.TrialState.COMPLETE
        trials = self._study.get_trials(deepcopy=False, states=(complete,))
        return {trial.user_attrs["job"]: self._held(trial, "result") for trial in trials if "job" in trial.user_attrs}

    def _held(self, trial: Any, key: str) -> dict[str, Any]:
        """Return what a trial holds under a key; anybody with the database's address may have written it."""
        try:
            return parse_record(dict[str, Any], trial.user_attrs.get(key, ""))
        except ReadingError as error:
            where = f"study {self._study.study_name}, trial {trial.number}: its {key!r} is damaged"
            raise ValueError(f"{where} ({error}): choose another --storage or --out") from None

    def _fail_stale(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
            self._optuna.storages.fail_stale_trials(self._study)

    def _alive(self) -> list[Any]:
        """Return the trials of jobs that are waiting, running or done."""
        state = self._optuna.trial.TrialState
        trials = self._study.get_trials(deepcopy=False, states=(state.WAITING, state.RUNNING, state.COMPLETE))
        return [trial for trial in trials if "job" in trial.user_attrs]

    def _count(self, state: str) -> int:
        return len(self._study.get_trials(deepcopy=False, states=(self._optuna.trial.TrialState[state],)))

    def _put_up(self, jobs: Sequence[Job]) -> None:
        there = {trial.user_attrs["job"] for trial in self._alive()}
        for job in jobs:
            if job.key not in there:
                self._study.enqueue_trial({}, user_attrs={"job": job.key, "spec": json.dumps(dict(job.spec))})

    def _claim_one(self, do: Callable[[Job, Results], dict[str, Any]], finished: Results) -> None:
        def objective(trial: Any) -> float:
            key = trial.user_attrs.get("job")
            # No job: another worker was faster. A twin with a lower number: put up twice, and not ours.
            if key is None or any(t.user_attrs["job"] == key and t.number < trial.number for t in self._alive()):
                raise self._optuna.TrialPruned
            outcome = do(Job(key, self._held(trial, "spec")), finished)
            self._late = True  # until it is told, it may turn out that we were given up
            trial.set_user_attr("result", json.dumps(outcome))
            self._late = False
            return float(outcome.get("value", 0.0))

        self._late = False
        try:
            # optimize, not ask and tell: it keeps the heartbeat going.
            self._study.optimize(objective, n_trials=1)
        except (self._optuna.exceptions.UpdateFinishedTrialError, ValueError):
            if not self._late:
                raise


def _make_transactions_exclusive(engine: Any) -> None:
    """Let SQLite lock at the start of a transaction: it knows no FOR UPDATE, so two workers could claim one trial."""
    event = require("sqlalchemy.event", "search", "comparing poolings")

    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver begins no transactions by itself

    def begun(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
    engine.dispose()  # connections that were opened before


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
