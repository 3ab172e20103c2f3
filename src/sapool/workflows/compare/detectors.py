"""Comparing poolings in a detector's backbone, at equal measured RAM of that backbone and over several seeds."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sapool.base.budget import Budget
from sapool.base.files import write_text_atomically
from sapool.base.ranges import check_range
from sapool.base.records import ArenaRecord, PoolingPlan, Reporter, SilentReporter
from sapool.detection import DetectConfig
from sapool.export import ExportError, InterpreterError
from sapool.layers import check_pool_name
from sapool.networks.load import load_model
from sapool.planning.plan import supported_sites
from sapool.predict.search import stride_ladder
from sapool.report.detectors import DetectorComparison, DetectorRow, markdown, rank, row_of
from sapool.report.tables import join_strides
from sapool.training import DivergedError, Hardware
from sapool.workflows.compare.board import HEARTBEAT_SECONDS, Board, Job, Results
from sapool.workflows.compare.config import fingerprint
from sapool.workflows.detect import (
    DetectorRun,
    DetectRequest,
    measure_untrained,
    plan_detector,
    run_detector,
)
from sapool.workflows.folder import DETECT_COMPARE, RECORD, RunFolder
from sapool.workflows.running import sizes_of

# What may grow later without making another comparison of it.
_GROWS = ("pools", "seeds")


@dataclass(frozen=True)
class DetectCompareConfig:
    """What is compared: everything but the pooling, its strides and the seed is the same for all.

    Attributes:
        model: the backbone's name.
        data: ``scattered-digits`` or a COCO folder.
        recipe: how every detector is trained; its seed is replaced.
        pools: poolings; average pooling is added if it isn't there.
        ram_bytes: budget for the backbone's measured arena (``arena_bytes``), or None.
        seeds: how many, from 0 on.
        strides: fixed for all poolings; None: each has the latest down-sampling that fits the budget.
        skip_bad: leave out and count what breaks the data's rules.
        train_images: use only so many.
        pretrained: start the backbone from its library's weights.
    """

    model: str = "sapool:tiny"
    data: str = "scattered-digits"
    recipe: DetectConfig = field(default_factory=DetectConfig)
    pools: tuple[str, ...] = ("self_attentive", "lip", "gaussian", "max", "avg", "strided")
    ram_bytes: int | None = None
    seeds: int = 3
    strides: tuple[int, ...] | None = None
    skip_bad: bool = False
    train_images: int | None = None
    pretrained: bool = False

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ValueError: a value out of its range, or an unknown or repeated pooling.
        """
        if not self.pools or len(set(self.pools)) != len(self.pools):
            raise ValueError(f"pools must name at least one pooling, each once, got {', '.join(self.pools) or 'none'}")
        for pool in self.pools:
            check_pool_name(pool)
        check_range("seeds", self.seeds, 1, 1000)
        _ = self.budget

    @property
    def budget(self) -> Budget:
        """The budget of the backbone."""
        return Budget(self.ram_bytes)

    def all_pools(self) -> tuple[str, ...]:
        """Return the poolings, average pooling always among them."""
        return self.pools if "avg" in self.pools else (*self.pools, "avg")

    def base(self) -> dict[str, Any]:
        """Return, in JSON's types, what makes it this comparison."""
        return json.loads(json.dumps({k: v for k, v in asdict(self).items() if k not in _GROWS}))

    def request(self, plan: PoolingPlan | None, seed: int) -> DetectRequest:
        """Return what one run is told."""
        recipe = replace(self.recipe, seed=seed)
        return DetectRequest(self.model, self.data, plan, recipe, self.skip_bad, self.train_images, self.pretrained)


def compare_detectors(
    config: DetectCompareConfig,
    out: str | Path,
    *,
    storage: str | None = None,
    reporter: Reporter | None = None,
    hardware: Hardware | None = None,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
) -> DetectorComparison:
    """Compare poolings in a detector's backbone; every run is done once and kept, and callers share the work.

    Args:
        config: what to compare.
        out: folder of the results.
        storage: a database that optuna knows; by default ``study.db`` in the folder.
        reporter: is told the stages and progress.
        hardware: what training runs on.
        heartbeat_seconds: how often this worker is heard of.

    Returns:
        The comparison, also in ``out/compare.json`` and ``out/table.md``; runs lie in ``out/runs/POOL/seedK``.

    Raises:
        ValueError: a user's mistake: unknown names, a folder of another configuration, a storage that can't be opened.
        KeyboardInterrupt: Ctrl-C; the same call goes on later.
    """
    folder, reporter = Path(out), reporter or SilentReporter()
    study = _Study(config, folder, reporter, hardware or Hardware())
    place = RunFolder(folder, DETECT_COMPARE)
    place.claim(config.base())
    board = Board(
        storage or f"sqlite:///{folder / 'study.db'}", f"sapool-detect-{fingerprint(config.base())}", heartbeat_seconds
    )
    finished = board.work(study.wanted, study.do)
    comparison = DetectorComparison(config.base(), str(folder), rank(study.rows(finished)))
    write_text_atomically(place.file("table.md"), markdown(comparison))
    place.finish(comparison.to_json())
    return comparison


class _Study:
    """Which jobs a comparison needs, and how each is done."""

    def __init__(self, config: DetectCompareConfig, folder: Path, reporter: Reporter, hardware: Hardware) -> None:
        self.config, self.folder, self.reporter, self.hardware = config, folder, reporter, hardware
        backbone = load_model(config.model, 10)
        sites = supported_sites(backbone, (3, *config.recipe.image_size))
        if config.strides is not None and len(config.strides) != len(sites):
            raise ValueError(
                f"strides need one entry a site of {config.model}, {len(sites)} in all, "
                f"got {join_strides(config.strides)}"
            )
        own = [site.reduction for site in sites]
        self.rungs = [config.strides] if config.strides is not None else stride_ladder(own)

    def wanted(self, finished: Results) -> list[Job]:
        """Plans first; behind each that fits, its runs."""
        jobs = []
        for pool in self.config.all_pools():
            planned = Job(f"plan {pool}", {"pool": pool})
            jobs.append(planned)
            if finished.get(planned.key, {}).get("plan"):
                jobs += [Job(f"run {pool} {seed}", {"pool": pool, "seed": seed}) for seed in range(self.config.seeds)]
        return jobs

    def do(self, job: Job, finished: Results) -> dict[str, Any]:
        """Plan a pooling, or train one detector."""
        pool = str(job.spec["pool"])
        if "seed" not in job.spec:
            return self._plan(pool)
        plan = PoolingPlan.from_json(json.dumps(finished[f"plan {pool}"]["plan"]))
        return self._train(pool, plan, int(job.spec["seed"]))

    def _plan(self, pool: str) -> dict[str, Any]:
        """Return the first rung whose backbone is measured to fit."""
        said = "no strides of the ladder can be planned"
        for strides in self.rungs:
            try:
                plan = plan_detector(self.config.model, self.config.recipe, pool, strides)
                request = self.config.request(plan, 0)
                arena = measure_untrained(request, replace(request, train_images=4).splits())
            except (ValueError, ExportError, InterpreterError) as error:
                said = f"strides {join_strides(strides)}: {error}"
                continue
            said = f"strides {join_strides(strides)} need {arena.arena_bytes:,} bytes"
            self.reporter.stage(f"{pool}: {said}")
            if self.config.budget.fits(arena):
                return {"plan": asdict(plan), **sizes_of(arena), "reason": None}
            said += ", over the budget"
        return {"plan": None, "reason": said}

    def _train(self, pool: str, plan: PoolingPlan, seed: int) -> dict[str, Any]:
        name, place = f"{pool} seed {seed}", self.folder / "runs" / pool / f"seed{seed}"
        self.reporter.stage(f"{name}: training")
        request = self.config.request(plan, seed)
        try:
            # The arena is the plan's; one trained backbone shows that its numbers change nothing.
            run = run_detector(
                request, place, hardware=self.hardware, reporter=self.reporter, name=name, measure=seed == 0
            )
        except DivergedError as error:
            return {"reason": f"seed {seed}: {error}"}
        self.reporter.stage(f"{name}: AP50 {run.ap50:.1%}, AP {run.ap:.1%}")
        return outcome_of(run)

    def rows(self, finished: Results) -> list[DetectorRow]:
        """Return a row a pooling."""
        return [row_of(pool, finished, self.config.seeds, self.config.budget) for pool in self.config.all_pools()]


def outcome_of(run: DetectorRun) -> dict[str, Any]:
    """Return what the table says of one run."""
    arena: ArenaRecord | None = run.arena
    return {
        "value": run.ap50,
        "ap": run.ap,
        "ap50": run.ap50,
        **(sizes_of(arena) if arena else {}),
        "parameters": run.record["parameters"],
        "record": str(run.folder / RECORD),
        "reason": run.record["backbone"]["reason"],
    }
