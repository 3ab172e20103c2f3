"""Run the ways to a budget, and say which is best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from sapool.base.chance import is_guessing
from sapool.base.environment import describe_environment
from sapool.base.image_size import size_text
from sapool.base.records import Reporter, RunRecord, SilentReporter, record_to_json
from sapool.planning.plan import supported_sites
from sapool.predict.search import Candidate
from sapool.training import Hardware
from sapool.workflows.fit.config import FitConfig
from sapool.workflows.fit.ways import Way, plain_way, poolings_to_prune, pruned_way, rung_to_prune, savings_of
from sapool.workflows.fit.work import Work
from sapool.workflows.folder import FIT, RunFolder

_Done = tuple[Way, RunRecord]


@dataclass(frozen=True)
class FitSummary:
    """Outcome of a ``fit``: the runs, which way is best among those that fit, and which is closest if none does.

    ``best`` and ``closest`` name a way: a pooling, or ``avg-48px``, ``avg-pruned``. ``best`` is chosen by int8 accuracy
    on validation, never on test; ties go to the smaller arena. ``ways`` are the runs' ways, in the same order.
    ``guessing`` names those whose int8 accuracy on test may be chance.
    """

    config: dict[str, Any]
    environment: dict[str, str]
    folder: str
    best: str | None
    closest: str | None
    runs: tuple[RunRecord, ...]
    ways: tuple[Way, ...]
    guessing: tuple[str, ...] = ()


def fit(
    config: FitConfig,
    out: str | Path | None = None,
    reporter: Reporter | None = None,
    hardware: Hardware | None = None,
) -> FitSummary:
    """Plan, train, prune, export and measure every way of ``config`` under its budgets.

    Finished runs in ``out`` are read, an interrupted one goes on where it stopped.

    Args:
        config: what to do.
        out: folder of the results; by default one under ``runs/`` named after data, model and budget.
        reporter: is told the stages and progress.
        hardware: what training runs on; None: what there is.

    Returns:
        The summary, also written to ``out/summary.json``.

    Raises:
        ValueError: a user's mistake: unknown names, a size the model or data can't have, a folder of another
            configuration.
        KeyboardInterrupt: Ctrl-C; the same call goes on later.
    """
    reporter = reporter or SilentReporter()
    folder = Path(out) if out is not None else config.default_folder()
    work = Work(config, folder, reporter, describe_environment(), hardware)
    for size in config.sizes():
        work.data(size)
        supported_sites(work.traced(size), size)
    # Only now, when model and data are known to work together, is anything written.
    place = RunFolder(folder, FIT)
    with place.claimed(asdict(config)):
        stock = work.traced(config.input_size).model
        parameters = sum(p.numel() for p in stock.parameters())
        reporter.stage(
            f"model {config.model}: {parameters:,} parameters; data {config.data} at {size_text(config.input_size)}"
        )
        done = _all_ways(work)
        runs = tuple(run for _, run in done)
        names = _best(done), _closest(done, config)
        ways = tuple(way for way, _ in done)
        summary = FitSummary(asdict(config), work.environment, str(folder), *names, runs, ways, _guessing(work, done))
        place.finish(record_to_json(summary))
    return summary


def _guessing(work: Work, done: Sequence[_Done]) -> tuple[str, ...]:
    names = []
    for way, run in done:
        data = work.data(way.input_size)
        count = len(data.test)  # type: ignore[arg-type]
        right = run.int8_test_accuracy
        if right is not None and is_guessing(round(right * count), count, round(count / data.num_classes)):
            names.append(way.name)
    return tuple(names)


def _all_ways(work: Work) -> list[_Done]:
    """Run every way by strides, then those by pruning that are worth it."""
    config = work.config
    plain = [plain_way(pool, size, config.input_size) for size in config.sizes() for pool in config.pools]
    candidates = {way.name: work.plan(way) for way in plain}
    done = [_run(work, way, candidates[way.name]) for way in plain]
    able = poolings_to_prune([run for _, run in done], config.prune) if config.ram_bytes is not None else []
    for pool in able:
        tried = candidates[plain_way(pool, config.input_size, config.input_size).name]
        rung = rung_to_prune(tried)
        if rung is None:
            work.reporter.stage(f"{pool}: nothing to prune, its own strides fit")
        else:
            done.append(_run_pruned(work, pruned_way(pool, config.input_size), rung, tried))
    return done


def _run(work: Work, way: Way, tried: list[Candidate]) -> _Done:
    record, network = work.run(way, tried)
    return _with_savings(work, way, network, None), record


def _run_pruned(work: Work, way: Way, rung: Candidate, tried: list[Candidate]) -> _Done:
    record, pruned = work.run_pruned(way, rung, tried)
    return _with_savings(work, way, work.planned(rung.plan), pruned), record


def _with_savings(work: Work, way: Way, planned: nn.Module, pruned: nn.Module | None) -> Way:
    size = work.config.input_size
    savings = savings_of(work.folder / way.name, work.traced(size), size, planned, way, pruned)
    return replace(way, savings=savings)


def _best(done: Sequence[_Done]) -> str | None:
    fitting = [(way, run) for way, run in done if run.fits]
    best = max(fitting, key=lambda pair: (pair[1].int8_val_accuracy or 0.0, -pair[1].arena_bytes), default=None)
    return best[0].name if best else None


def _closest(done: Sequence[_Done], config: FitConfig) -> str | None:
    """Return the way that misses its budgets by the least share, if none fits."""
    if any(run.fits for _, run in done):
        return None
    return min(done, key=lambda pair: config.budget.largest_share(pair[1].arena))[0].name
