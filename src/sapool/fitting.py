"""The whole way: a network, data and a RAM budget in; an int8 model proven to fit out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sapool import running
from sapool.environment import describe_environment
from sapool.layers import check_pool_name
from sapool.models import load_model
from sapool.plan import supported_sites
from sapool.records import (
    ArenaRecord,
    PoolingPlan,
    Reporter,
    RunRecord,
    SilentReporter,
    record_to_json,
    write_text_atomically,
)
from sapool.running import (
    FolderConflictError,
    Task,
    finished_record,
    join_strides,
    measure_untrained,
    read_held,
    run_planned,
    write_record,
)
from sapool.search import Candidate, closest, first_fitting_plan, replan
from sapool.training import DataSplits, TrainConfig, load_data

__all__ = ["FitConfig", "FitSummary", "FolderConflictError", "claim_folder", "fit", "format_kib"]


@dataclass(frozen=True)
class FitConfig:
    """What ``fit`` is asked for; budgets in bytes, ``input_size`` in pixels a side."""

    model: str = "sapool:tiny"
    data: str = "scattered-digits"
    input_size: int = 64
    ram_bytes: int = 64 * 1024
    flash_bytes: int | None = 1024 * 1024
    pools: tuple[str, ...] = ("self_attentive", "avg", "strided")
    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        """Check everything that can be checked without loading anything.

        Raises:
            ValueError: a value out of its range, or an unknown or repeated pooling.
        """
        if self.input_size < 1:
            raise ValueError(f"input_size must be at least 1, got {self.input_size}")
        if self.ram_bytes < 1 or (self.flash_bytes is not None and self.flash_bytes < 1):
            raise ValueError(f"budgets must be at least 1 byte, got {self.ram_bytes} and {self.flash_bytes}")
        if not self.pools or len(set(self.pools)) != len(self.pools):
            raise ValueError(f"pools must name at least one pooling, each once, got {', '.join(self.pools) or 'none'}")
        for pool in self.pools:
            check_pool_name(pool)
        self.recipe()

    def recipe(self) -> TrainConfig:
        """Return the training part."""
        return TrainConfig(self.epochs, self.batch_size, self.learning_rate, seed=self.seed)

    def default_folder(self) -> Path:
        """Return ``runs/`` + data, model, input size and budget."""
        model = self.model.replace(":", "-").replace("/", "-")
        return Path("runs") / f"{self.data}_{model}_{self.input_size}px_{format_kib(self.ram_bytes)}"


@dataclass(frozen=True)
class FitSummary:
    """Outcome of a ``fit``: the runs, which pooling is best among those that fit, and which is closest if none does.

    ``best`` is chosen by int8 accuracy on validation, never on test; ties go to the smaller arena.
    """

    config: dict[str, Any]
    environment: dict[str, str]
    folder: str
    best: str | None
    closest: str | None
    runs: tuple[RunRecord, ...]


def format_kib(count: int) -> str:
    """Return bytes as text: ``96KiB``, or ``1000B`` where KiB would not be whole."""
    return f"{count // 1024}KiB" if count % 1024 == 0 else f"{count}B"


def fit(config: FitConfig, out: str | Path | None = None, reporter: Reporter | None = None) -> FitSummary:
    """Plan, train, export and measure every pooling of ``config`` under its budgets.

    Finished runs in ``out`` are read, an interrupted one goes on where it stopped.

    Args:
        config: what to do.
        out: folder of the results; by default one under ``runs/`` named after data, model and budget.
        reporter: is told the stages and progress.

    Returns:
        The summary, also written to ``out/summary.json``.

    Raises:
        ValueError: a user's mistake: unknown names, a size the model or data can't have, a folder of another
            configuration.
        KeyboardInterrupt: Ctrl-C; the same call goes on later.
    """
    reporter = reporter or SilentReporter()
    folder = Path(out) if out is not None else config.default_folder()
    data = load_data(config.data, config.input_size, epochs=config.epochs, seed=config.seed)
    model = _fresh_model(config, data)
    supported_sites(model, config.input_size)
    # Only now, when model and data are known to work together, is anything written.
    claim_folder(folder, config)
    parameters = sum(p.numel() for p in model.parameters())
    reporter.stage(f"model {config.model}: {parameters:,} parameters; data {config.data} at {config.input_size} px")
    work = _Work(config, folder, data, reporter, describe_environment())
    candidates = {pool: work.plan(model, pool) for pool in config.pools}
    runs = tuple(work.run(pool, candidates[pool]) for pool in config.pools)
    summary = FitSummary(asdict(config), work.environment, str(folder), _best(runs), _closest(runs, config), runs)
    write_text_atomically(folder / "summary.json", record_to_json(summary))
    return summary


def _fresh_model(config: FitConfig, data: DataSplits) -> nn.Module:
    """Return the network with the initial weights that the seed gives, the same for every pooling."""
    torch.manual_seed(config.seed)
    return load_model(config.model, data.num_classes)


def claim_folder(folder: Path, config: FitConfig) -> None:
    """Write the configuration into an empty folder, or check that it is the one there.

    Raises:
        FolderConflictError: the folder holds another configuration, or files of another program.
    """
    running.claim_folder(folder, asdict(config), "sapool fit")


class _Work:
    """What every pooling of one ``fit`` shares."""

    def __init__(
        self, config: FitConfig, folder: Path, data: DataSplits, reporter: Reporter, environment: dict[str, str]
    ) -> None:
        self.config, self.folder, self.data = config, folder, data
        self.reporter, self.environment = reporter, environment

    def plan(self, model: nn.Module, pool: str) -> list[Candidate]:
        """Return the measured candidates of one pooling: read back if they are there."""
        path = self.folder / pool / "candidates.json"
        if path.is_file():
            return read_held(path, _candidates_from_json)
        self.reporter.stage(f"{pool}: looking for strides that fit {format_kib(self.config.ram_bytes)} of RAM")
        tried = first_fitting_plan(
            model,
            self.config.input_size,
            pool,
            ram_bytes=self.config.ram_bytes,
            flash_bytes=self.config.flash_bytes,
            measure=self._measure_untrained,
        )
        write_text_atomically(path, json.dumps([asdict(candidate) for candidate in tried], indent=2))
        write_text_atomically(self.folder / pool / "plan.json", self._closest(tried).plan.to_json())
        return tried

    def _closest(self, tried: list[Candidate]) -> Candidate:
        return closest(tried, self.config.ram_bytes, self.config.flash_bytes)

    def _measure_untrained(self, model: nn.Module, plan: PoolingPlan) -> ArenaRecord:
        arena = measure_untrained(model, self.data)
        verdict = "fits" if arena.fits(self.config.ram_bytes, self.config.flash_bytes) else "does not fit"
        self.reporter.stage(f"  strides {join_strides(plan.strides)}: arena {arena.total_bytes:,} bytes, {verdict}")
        return arena

    def run(self, pool: str, tried: list[Candidate]) -> RunRecord:
        """Return one pooling's record: read back if it is there, else train, export and measure."""
        folder = self.folder / pool
        held = finished_record(folder)
        if held is not None:
            self.reporter.stage(f"{pool}: finished before, read from {folder / 'record.json'}")
            return held
        chosen = self._closest(tried)
        model = _fresh_model(self.config, self.data)
        torch.manual_seed(self.config.seed)
        model = replan(model, chosen.plan)
        task = Task(
            name=pool,
            plan=chosen.plan,
            recipe=self.config.recipe(),
            ram_bytes=self.config.ram_bytes,
            flash_bytes=self.config.flash_bytes,
            config=asdict(self.config),
            environment=self.environment,
            pool=pool,
            tried=tuple({"strides": list(c.plan.strides), "total_bytes": c.arena.total_bytes} for c in tried),
        )
        if not chosen.fits:  # not worth training: its record says by how much it misses
            return write_record(task, model, {"fits": False, "arena": chosen.arena}, folder)
        return run_planned(task, model, self.data, folder, self.reporter)


def _best(runs: Sequence[RunRecord]) -> str | None:
    fitting = [run for run in runs if run.fits]
    best = max(fitting, key=lambda run: (run.int8_val_accuracy or 0.0, -run.total_bytes), default=None)
    return best.pool if best else None


def _closest(runs: Sequence[RunRecord], config: FitConfig) -> str | None:
    """Return the pooling that misses its budgets by the least share, if none fits."""
    if any(run.fits for run in runs):
        return None
    return min(runs, key=lambda run: run.arena.budget_share(config.ram_bytes, config.flash_bytes)).pool


def _candidates_from_json(text: str) -> list[Candidate]:
    return [
        Candidate(
            PoolingPlan.from_json(json.dumps(entry["plan"])), ArenaRecord.from_dict(entry["arena"]), bool(entry["fits"])
        )
        for entry in json.loads(text)
    ]
