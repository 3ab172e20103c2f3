"""``compare``: poolings under one measured budget, several seeds, every run kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sapool.base.arena import as_plain
from sapool.base.environment import describe_environment
from sapool.base.files import write_text_atomically
from sapool.base.records import ArenaRecord, PoolingPlan, Reporter, RunRecord, SilentReporter, record_to_json
from sapool.export import ExportError, InterpreterError
from sapool.networks.load import load_model
from sapool.networks.recorded import read_model
from sapool.networks.traced import TracedModel
from sapool.planning.plan import supported_sites
from sapool.predict.search import replan
from sapool.report.comparison import Comparison
from sapool.report.figures import draw
from sapool.report.tables import join_strides, markdown
from sapool.training import DataSplits, DivergedError, Hardware, load_data
from sapool.workflows.compare.board import HEARTBEAT_SECONDS, Board, Job, Results
from sapool.workflows.compare.config import CompareConfig, Variant, fingerprint, pool_settings
from sapool.workflows.compare.planning import (
    Measured,
    Planned,
    plan_equal,
    plan_variant,
    planned_to_dict,
    variant_from_dict,
)
from sapool.workflows.compare.result import Run, make_comparison
from sapool.workflows.folder import COMPARE, RECORD, RUN, RunFolder
from sapool.workflows.running import (
    Task,
    data_options,
    finished_record,
    measure_untrained,
    run_planned,
)


def compare(
    config: CompareConfig,
    out: str | Path | None = None,
    *,
    storage: str | None = None,
    reporter: Reporter | None = None,
    wait: bool = True,
    hardware: Hardware | None = None,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
) -> Comparison:
    """Compare poolings: the same sites, placement, recipe and measured budget; every run done once and kept.

    Call it again, at once or later, here or on another machine, with the same ``storage``: callers share the work, and
    a killed one's run is taken up when its heartbeat stops. Seeds, pools and variants that are added later only add
    runs. Every caller returns the whole comparison.

    Args:
        config: what to compare.
        out: folder of the results; by default one under ``runs/``.
        storage: a database that optuna knows (``sqlite:///FILE``, ``postgresql://...``); by default ``study.db`` in
            the folder.
        reporter: is told the stages and progress.
        wait: for runs that other workers have in hand; else the comparison has what is finished.
        hardware: what training runs on, or None for what there is; it does not change what a run is.
        heartbeat_seconds: how often this worker is heard of; without four of them it counts as dead.

    Returns:
        The comparison, also in ``out/compare.json`` and ``out/table.md``; every run's record is
        ``out/runs/POOL-HASH/seedK/record.json``.

    Raises:
        ValueError: a user's mistake: unknown names, a folder of another configuration, a storage that can't be opened.
        KeyboardInterrupt: Ctrl-C; the same call goes on later.
    """
    reporter = reporter or SilentReporter()
    folder = Path(out) if out is not None else config.default_folder()
    study = _Study(config, folder, reporter, hardware)
    study.check()
    place = RunFolder(folder, COMPARE)
    place.claim(config.base())
    url = storage or f"sqlite:///{folder / 'study.db'}"
    board = Board(url, f"sapool-compare-{fingerprint(config.base())}", heartbeat_seconds)
    finished = board.work(study.wanted, study.do, wait=wait)
    comparison = study.comparison(finished)
    write_text_atomically(folder / "table.md", markdown(comparison))
    draw(comparison, folder / "compare.png")
    place.finish(comparison.to_json())
    return comparison


class _Study:
    """Which jobs a comparison needs, how each is done, and what their outcomes say."""

    def __init__(self, config: CompareConfig, folder: Path, reporter: Reporter, hardware: Hardware | None) -> None:
        self.config, self.folder, self.reporter, self.hardware = config, folder, reporter, hardware
        self.environment = describe_environment()
        self._data: dict[tuple[int, int], DataSplits] = {}
        self._plain: TracedModel | None = None

    # -- what the user may have got wrong

    def check(self) -> None:
        """Load model and data once, before anything is written.

        Raises:
            ValueError: a name, size or site that there isn't.
        """
        model = self._model(self.config.input_size, self.config.seed_list()[0])
        known = [site.name for site in supported_sites(model, self.config.input_size)]
        for strides in (*filter(None, [self.config.strides]), *(self.config.stride_choices or ())):
            if len(strides) != len(known):
                raise ValueError(
                    f"strides need one entry a site of {self.config.model}, {len(known)} in all ({', '.join(known)}), "
                    f"got {join_strides(strides)}"
                )
        for name in self.config.sites or ():
            if name not in known:
                raise ValueError(f"{self.config.model} has no site {name!r}: it has {', '.join(known)}")
        parameters = sum(p.numel() for p in model.parameters())
        self.reporter.stage(
            f"model {self.config.model}: {parameters:,} parameters; data {self.config.data} at "
            f"{self.config.input_size} px; {self.config.budget}"
        )
        if self.config.adds_reference():
            self.reporter.stage("average pooling is compared too: without it nothing else can be judged")

    def _splits(self, size: int, seed: int) -> DataSplits:
        if (size, seed) not in self._data:
            asked = {name: getattr(self.config, name) for name in ("train_images", "eval_images", "fragments")}
            options = data_options(self.config.recipe) | asked
            epochs = self.config.recipe.epochs
            self._data = {(size, seed): load_data(self.config.data, size, epochs=epochs, seed=seed, **options)}
        return self._data[size, seed]

    def _model(self, size: int, seed: int) -> nn.Module:
        """Return the network with the weights that the seed gives, the same for every pooling."""
        classes = self._splits(size, seed).num_classes
        torch.manual_seed(seed)
        return load_model(self.config.model, classes)

    def _traced(self) -> TracedModel:
        """Return the network that plans are made for, traced once a size for them all."""
        if self._plain is None:
            self._plain = read_model(self._model(self.config.input_size, 0), self.config.input_size)
        return self._plain

    # -- which jobs

    def wanted(self, finished: Results) -> list[Job]:
        """Return all jobs that the outcomes so far ask for."""
        jobs = [self._plan_job(variant) for variant in self.config.all_variants()]
        planned = self._planned(finished)
        equal = self._equal_job(planned)
        if equal is not None:
            jobs.append(equal)
        runs = [run for runs in self.runs(finished).values() for run in runs.values()]
        runs += self._choosing(planned)
        return list({job.key: job for job in [*jobs, *runs]}.values())

    def _plan_job(self, variant: Variant) -> Job:
        # Of the pooling, not of its label; keywords that are given are not searched, so they count by themselves.
        settings = [variant.pool, dict(variant.kwargs), pool_settings(variant.pool)]
        return Job(f"plan-{fingerprint(settings)}", {"do": "plan", "variant": asdict(variant)})

    def _planned(self, finished: Results) -> dict[str, Planned]:
        found = [(variant, finished.get(self._plan_job(variant).key)) for variant in self.config.all_variants()]
        return {
            variant.label: Planned.from_dict({**held["planned"], "variant": asdict(variant)})
            for variant, held in found
            if held is not None
        }

    def _equal_job(self, planned: Mapping[str, Planned]) -> Job | None:
        variants = self.config.all_variants()
        if "equal" not in self.config.tables or len(planned) < len(variants):
            return None
        keys = sorted(self._plan_job(v).key for v in variants if planned[v.label].candidates)
        return Job(f"equal-{fingerprint(keys)}", {"do": "equal", "plans": keys}) if keys else None

    def runs(self, finished: Results) -> dict[tuple[str, str], dict[int, Job]]:
        """Return {(table, label): {seed: job}} for every plan that is settled."""
        planned = self._planned(finished)
        chosen: dict[tuple[str, str], Measured] = {}
        if "budget" in self.config.tables:
            picked = {label: self._picked(entry, finished) for label, entry in planned.items()}
            chosen |= {("budget", label): plan for label, plan in picked.items() if plan is not None}
        chosen |= {("equal", label): plan for label, plan in self._equal(planned, finished)[0].items()}
        seeds = self.config.seed_list()
        return {place: {seed: self._run_job(plan, seed) for seed in seeds} for place, plan in chosen.items()}

    def _equal(self, planned: Mapping[str, Planned], finished: Results) -> tuple[dict[str, Measured], str]:
        """Return the plans of the second table, and why there are none."""
        job = self._equal_job(planned)
        held = finished.get(job.key) if job is not None else None
        if held is None:
            return {}, ""
        plans = {key: Measured.from_dict(entry) for key, entry in held["plans"].items()}
        keys = {variant.label: self._plan_job(variant).key for variant in self.config.all_variants()}
        return {label: plans[key] for label, key in keys.items() if key in plans}, held["reason"]

    def _run_job(self, measured: Measured, seed: int) -> Job:
        key = fingerprint(self.config.run_settings(measured.plan, seed))
        return Job(f"run-{key}", {"do": "run", "plan": asdict(measured.plan), "seed": seed})

    def _choosing(self, planned: Mapping[str, Planned]) -> list[Job]:
        """Return the runs that choose between a pooling's plans: each on the first seed."""
        if "budget" not in self.config.tables or self.config.plan_candidates == 1:
            return []
        first = self.config.seed_list()[0]
        return [self._run_job(candidate, first) for entry in planned.values() for candidate in entry.candidates]

    def _picked(self, entry: Planned, finished: Results) -> Measured | None:
        """Return a pooling's plan: of several the best on validation, once all of them are trained."""
        if len(entry.candidates) < 2:
            return next(iter(entry.candidates), None)
        first = self.config.seed_list()[0]
        outcomes = [finished.get(self._run_job(candidate, first).key) for candidate in entry.candidates]
        values = [outcome["value"] for outcome in outcomes if outcome is not None]
        if len(values) < len(outcomes):
            return None
        return entry.candidates[values.index(max(values))]

    # -- how each is done

    def do(self, job: Job, finished: Results) -> dict[str, Any]:
        """Do one job, whichever worker put it up."""
        if job.spec["do"] == "plan":
            return self._do_plan(variant_from_dict(job.spec["variant"]))
        if job.spec["do"] == "equal":
            return self._do_equal(job.spec["plans"], finished)
        return self._do_run(job)

    def _measure(self, model: nn.Module, plan: PoolingPlan) -> ArenaRecord:
        return measure_untrained(model, self._splits(plan.input_size[1], self.config.seed_list()[0]))

    def _do_plan(self, variant: Variant) -> dict[str, Any]:
        self.reporter.stage(f"{variant.label}: looking for plans ({self.config.budget})")
        model = self._traced()
        planned = plan_variant(model, variant, self.config, self._measure, self.reporter)
        if planned.reason:
            self.reporter.stage(f"{variant.label}: {planned.reason}")
        return {"planned": planned_to_dict(planned)}

    def _do_equal(self, keys: list[str], finished: Results) -> dict[str, Any]:
        self.reporter.stage("looking for strides and a size that every pooling fits with")
        # The key is the label here: labels belong to one caller, keys to the study.
        held = {key: finished[key]["planned"] for key in keys}
        planned = [
            Planned.from_dict({**entry, "variant": {**entry["variant"], "label": key}}) for key, entry in held.items()
        ]
        model = self._traced()
        plans, reason = plan_equal(model, planned, self.config, self._measure, self.reporter)
        return {"plans": {key: asdict(plan) for key, plan in plans.items()}, "reason": reason}

    def _do_run(self, job: Job) -> dict[str, Any]:
        plan, seed = PoolingPlan.from_json(json.dumps(job.spec["plan"])), int(job.spec["seed"])
        pool = pool_of(plan)
        folder = self._run_folder(job)
        held = finished_record(folder, files=False)
        if held is not None:
            self.reporter.stage(f"{pool}: seed {seed} finished before, read from {folder / 'record.json'}")
            return _outcome(held)
        size = plan.input_size[1]
        data, model = self._splits(size, seed), self._model(size, seed)
        torch.manual_seed(seed)
        task = Task(
            name=f"{pool} seed {seed}",
            plan=plan,
            recipe=self.config.recipe_for(seed),
            budget=self.config.budget,
            config={**self.config.base(), "seed": seed, "run": self.config.run_settings(plan, seed)},
            environment=self.environment,
            pool=pool,
            int8_images=self.config.int8_images,
            hardware=self.hardware,
        )
        try:
            return _outcome(run_planned(task, replan(model, plan), data, folder, self.reporter))
        except (DivergedError, ExportError, InterpreterError) as error:
            self.reporter.stage(f"{task.name}: {error}")
            return {"record": None, "reason": f"seed {seed}: {error}", "value": 0.0}

    def _run_folder(self, job: Job) -> Path:
        plan, seed = PoolingPlan.from_json(json.dumps(job.spec["plan"])), job.spec["seed"]
        # The same plan with other seeds goes beside it.
        whole = fingerprint(self.config.run_settings(plan, 0), 10)
        return self.folder / "runs" / f"{pool_of(plan)}-{whole}" / f"seed{seed}"

    # -- what their outcomes say

    def comparison(self, finished: Results) -> Comparison:
        """Gather what is finished, records that other machines made among it."""
        planned = self._planned(finished)
        runs = {
            place: {seed: self._run(job, finished[job.key]) for seed, job in jobs.items() if job.key in finished}
            for place, jobs in self.runs(finished).items()
        }
        missing = sum(job.key not in finished for job in self.wanted(finished))
        notes = []
        if self.config.adds_reference():
            notes.append("Average pooling was added: without it nothing else can be judged.")
        if missing:
            notes.append(f"Not finished: {missing} of the jobs known so far are in other workers' hands.")
        none = self._equal(planned, finished)[1]
        return make_comparison(self.config, self.folder, self.environment, planned, runs, notes, none)

    def _run(self, job: Job, outcome: Mapping[str, Any]) -> Run:
        """Return a finished run; a record that is only in the storage is written beside the others."""
        place = RunFolder(self._run_folder(job), RUN)
        if outcome["record"] is None:
            return Run(None, "", outcome["reason"])
        record = RunRecord.from_json(json.dumps(outcome["record"]))
        if not place.is_whole():
            place.finish(record_to_json(record))
        return Run(record, str(place.file(RECORD)), "")


def _outcome(record: RunRecord) -> dict[str, Any]:
    return {"record": as_plain(record), "reason": None, "value": record.int8_val_accuracy or 0.0}


def pool_of(plan: PoolingPlan) -> str:
    """Return the pooling of a plan: the one that stands somewhere, or the network's own strided convolutions."""
    return next((site.pool for site in plan.sites if site.pool_stride > 1), "strided")
