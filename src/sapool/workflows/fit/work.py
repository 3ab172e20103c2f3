"""What every way of one ``fit`` shares, and how one way is run."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path

import torch
from torch import nn

from sapool.base.files import write_text_atomically as write
from sapool.base.image_size import InputSize, as_input_size
from sapool.base.reading import parse_record
from sapool.base.records import ArenaRecord, PoolingPlan, Reporter, RunRecord, TrainRecord, record_to_json
from sapool.networks.load import load_model
from sapool.networks.recorded import read_model
from sapool.networks.traced import TracedModel
from sapool.predict.search import Candidate, closest, first_fitting_plan, replan
from sapool.pruning.saving import save_pruned
from sapool.report.tables import join_strides
from sapool.training import DataSplits, Hardware, load_data, load_weights
from sapool.workflows.fit.config import FitConfig
from sapool.workflows.fit.ways import Way
from sapool.workflows.folder import TRAINING
from sapool.workflows.running import (
    Task,
    data_options,
    finished_record,
    measure_untrained,
    read_held,
    run_planned,
    sizes_of,
    train_once,
    write_record,
)

# Of the epochs: what a fine-tuning behind the pruning takes.
_TUNING_SHARE = 4


class Work:
    """What every way of one ``fit`` shares.

    Args:
        config: of the fit.
        folder: of its results.
        reporter: is told the progress.
        environment: of this machine.
        hardware: what training runs on; None: what there is.
    """

    def __init__(
        self,
        config: FitConfig,
        folder: Path,
        reporter: Reporter,
        environment: dict[str, str],
        hardware: Hardware | None = None,
    ) -> None:
        self.hardware = hardware
        self.config, self.folder, self.reporter, self.environment = config, folder, reporter, environment
        self.data: Callable[[InputSize], DataSplits] = cache(partial(_load, config))
        self._network: TracedModel | None = None

    def fresh_model(self) -> nn.Module:
        """Return the network with the initial weights that the seed gives, the same for every way."""
        torch.manual_seed(self.config.recipe().seed)
        classes = self.data(self.config.input_size).num_classes
        model = load_model(self.config.model, classes, in_channels=as_input_size(self.config.input_size)[0])
        if self.config.weights is not None:
            replaced = load_weights(model, self.config.weights, other_classes=True).replaced
            if replaced:
                self.reporter.stage(f"{self.config.weights}: {', '.join(replaced)} replaced: it had other classes")
        return model

    def traced(self, size: InputSize) -> TracedModel:
        """Return the network's trace at a size, with its first weights: they must stay as they are."""
        self._network = read_model(self._network or self.fresh_model(), size)
        return self._network

    def planned(self, plan: PoolingPlan) -> nn.Module:
        """Return a copy of the network with a plan in it and first weights."""
        traced = self.traced(plan.input_size)
        torch.manual_seed(self.config.recipe().seed)
        planned = replan(traced, plan)
        return copy.deepcopy(planned) if planned is traced.model else planned

    def plan(self, way: Way) -> list[Candidate]:
        """Return the measured candidates of one way: read back if they are there.

        Raises:
            ValueError: the network can't be planned at the way's size.
        """
        path = self.folder / way.name / "candidates.json"
        if path.is_file():
            return read_held(path, partial(parse_record, list[Candidate]))
        self.reporter.stage(f"{way.name}: looking for strides that fit {self.config.budget}")
        tried = first_fitting_plan(
            self.traced(way.input_size),
            way.input_size,
            way.pool,
            budget=self.config.budget,
            measure=partial(self._measure_untrained, way.input_size),
        )
        write(path, json.dumps([asdict(candidate) for candidate in tried], indent=2))
        write(self.folder / way.name / "plan.json", self.closest(tried).plan.to_json())
        return tried

    def closest(self, tried: list[Candidate]) -> Candidate:
        """Return the candidate that fits, or is over its budgets by the least share."""
        return closest(tried, self.config.budget)

    def _measure_untrained(self, size: InputSize, model: nn.Module, plan: PoolingPlan) -> ArenaRecord:
        arena = measure_untrained(model, self.data(size))
        verdict = "fits" if self.config.budget.fits(arena) else "does not fit"
        self.reporter.stage(f"  strides {join_strides(plan.strides)}: arena {arena.arena_bytes:,} bytes, {verdict}")
        return arena

    def run(self, way: Way, tried: list[Candidate]) -> tuple[RunRecord, nn.Module]:
        """Return the record of a way by strides, and its network: read back, or train, export and measure."""
        chosen, folder = self.closest(tried), self.folder / way.name
        model = self.planned(chosen.plan)
        held = self._finished(way)
        if held is not None:
            return held, model
        task = self._task(way, chosen, tried)
        if not chosen.fits:  # not worth training: its record says by how much it misses
            return write_record(task, model, {"fits": False, "arena": chosen.arena}, folder), model
        return run_planned(task, model, self.data(way.input_size), folder, self.reporter), model

    def run_pruned(self, way: Way, rung: Candidate, tried: list[Candidate]) -> tuple[RunRecord, nn.Module | None]:
        """Return the record of a way by pruning, and the pruned network (None where none can be small enough).

        The network is trained at the rung's strides, which don't fit, pruned to the budget and fine-tuned with itself
        unpruned as teacher.
        """
        from sapool.pruning import load_pruned

        folder, model = self.folder / way.name, self.planned(rung.plan)
        held = self._finished(way)
        if held is not None:
            return held, load_pruned(model, folder) if held.fits else None
        task = self._task(way, rung, tried)
        try:
            pruned = self._prune(way, task, model, folder)
        except ValueError as error:  # the least possible is over the budget
            self.reporter.stage(f"{way.name}: {error}")
            return write_record(task, model, {"fits": False, "arena": rung.arena}, folder), None
        return run_planned(task, pruned, self.data(way.input_size), folder, self.reporter), pruned

    def _prune(self, way: Way, task: Task, model: nn.Module, folder: Path) -> nn.Module:
        """Train ``model``, prune it and fine-tune; what is finished in ``folder`` is read back."""
        from sapool.pruning import prune_channels
        from sapool.pruning.tuning import prune_and_tune, tuning_recipe

        data, recipe = self.data(way.input_size), task.recipe
        if not (folder / "unpruned").exists():  # whether it can be small enough, before it is trained
            prune_channels(model.eval(), way.input_size, ram_bytes=task.budget.ram_bytes)
            model.train()
        trained = train_once(task, model, data, folder / "unpruned", self.reporter)
        tuning = tuning_recipe(recipe, max(1, recipe.epochs // _TUNING_SHARE))
        self.reporter.stage(f"{way.name}: pruning to {task.budget}")
        tuned = prune_and_tune(
            model,
            way.input_size,
            data,
            folder / "pruning",
            recipe=tuning,
            teacher=True,
            reporter=self.reporter,
            ram_bytes=task.budget.ram_bytes,
        )
        last = tuned.record.steps[-1]
        save_pruned(tuned.pruned, self.planned(task.plan), folder)
        write(folder / "tuning.json", record_to_json(tuned.record))
        done = TrainRecord(
            epochs=trained.epochs + tuning.epochs,
            best_epoch=trained.epochs + (last.best_epoch or 0),
            val_accuracy=tuned.record.val_accuracy,
            test_accuracy=tuned.record.test_accuracy,
            train_seconds=trained.train_seconds + last.train_seconds,
        )
        # With the weights, this tells run_planned that nothing is left to train.
        write(folder / TRAINING, record_to_json(done))
        return tuned.pruned.model

    def _finished(self, way: Way) -> RunRecord | None:
        folder = self.folder / way.name
        held = finished_record(folder)
        if held is not None:
            self.reporter.stage(f"{way.name}: finished before, read from {folder / 'record.json'}")
        return held

    def _task(self, way: Way, chosen: Candidate, tried: list[Candidate]) -> Task:
        return Task(
            name=way.name,
            plan=chosen.plan,
            recipe=self.config.recipe(),
            hardware=self.hardware,
            budget=self.config.budget,
            config=asdict(self.config),
            environment=self.environment,
            pool=way.pool,
            tried=tuple({"strides": list(c.plan.strides)} | sizes_of(c.arena) for c in tried),
        )


def _load(config: FitConfig, size: InputSize) -> DataSplits:
    recipe = config.recipe()
    return load_data(
        config.data,
        size,
        epochs=recipe.epochs,
        seed=recipe.seed,
        **data_options(recipe),
        skip_bad=bool(config.skip_bad),
    )
