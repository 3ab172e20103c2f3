"""``sapool prune`` of a finished ``sapool train``: with its data and recipe, fine-tuning behind each step."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sapool.workflows.run_folder import PLAN, RECORD, WEIGHTS, TrainedRun, read_run

if TYPE_CHECKING:
    from torch import nn

    from sapool.base.records import PoolingPlan, Reporter
    from sapool.pruning.tuning import Tuned
    from sapool.training import TrainConfig

TUNING = "tuning.json"


@dataclass(frozen=True)
class PruneRequest:
    """What determines the result of pruning a run: what its folder's ``config.json`` holds.

    Attributes:
        run: the folder of the finished run.
        pruning: keywords of ``prune_channels``.
        steps: prunings, each with a fine-tuning behind it.
        epochs: of each fine-tuning; 0: none.
        learning_rate: its peak, or None for a tenth of the run's.
        teacher: whether the unpruned network teaches.
    """

    run: str
    pruning: dict[str, Any]
    steps: int
    epochs: int
    learning_rate: float | None
    teacher: bool

    def check(self) -> None:
        """Raise a ValueError for what can't be, before anything is read."""
        if self.epochs < 0:
            raise ValueError(f"--epochs must be at least 0, got {self.epochs}")
        if self.learning_rate is not None and not self.epochs:
            raise ValueError("--learning-rate is of the fine-tuning: say --epochs, too")
        if self.teacher and not self.epochs:
            raise ValueError("--teacher is for the fine-tuning: say --epochs, too")

    def recipe(self, run: TrainedRun) -> TrainConfig | None:
        """Return the recipe of the fine-tuning."""
        from sapool.pruning.tuning import tuning_recipe

        if not self.epochs:
            return None
        tuned = tuning_recipe(run.recipe(), self.epochs)
        return tuned if self.learning_rate is None else replace(tuned, learning_rate=self.learning_rate)


def prune_run(request: PruneRequest, out: Path, reporter: Reporter) -> dict[str, Any]:
    """Prune a run and write the folder, or read back what is finished there; return the record.

    Raises:
        ValueError: no such run, a mistake in the request, or a folder of another one.
        KeyboardInterrupt: Ctrl-C; the same call goes on later.
    """
    from sapool.pruning.tuning import prune_and_tune
    from sapool.workflows.running import claim_folder, read_finished

    request.check()
    run = read_run(Path(request.run))
    network, recipe = run.network(), request.recipe(run)
    claimed = not out.exists()
    claim_folder(out, asdict(request), "sapool prune")
    if (out / RECORD).is_file() and (out / WEIGHTS).is_file():
        reporter.stage(f"finished before, read from {out / RECORD}")
        return read_finished(out / RECORD, ("prune", "tuning"))
    try:
        tuned = prune_and_tune(
            network,
            run.config["input_size"],
            run.data(epochs=max(1, request.epochs)),
            out,
            recipe=recipe,
            teacher=request.teacher,
            reporter=reporter,
            iterative_steps=request.steps,
            **request.pruning,
        )
    except ValueError:
        # Nothing is kept of a start that failed at once, so that the corrected command can have the folder.
        if claimed and not (out / "step1").exists():
            (out / "config.json").unlink()
            out.rmdir()
        raise
    return _write(out, run, tuned, network, request)


def _write(out: Path, run: TrainedRun, tuned: Tuned, network: nn.Module, request: PruneRequest) -> dict[str, Any]:
    from sapool.base.arena import as_plain
    from sapool.base.files import write_text_atomically
    from sapool.base.records import PoolingPlan, record_to_json
    from sapool.pruning import save_pruned

    save_pruned(tuned.pruned, run.unpruned(), out)
    write_text_atomically(out / TUNING, record_to_json(tuned.record))
    plan = run.config["plan"]
    planned = None if plan is None else PoolingPlan.from_json(json.dumps(plan))
    record = {
        "config": run.config,
        "request": asdict(request),
        "prune": as_plain(tuned.pruned.record),
        "tuning": asdict(tuned.record),
        "data": {"num_classes": run.num_classes, "classes": list(run.classes)},
    }
    write_network(out, planned, record)
    return record


def write_network(out: Path, plan: PoolingPlan | None, record: dict[str, Any]) -> None:
    """Write the plan, and last of all the record, with which ``read_run`` finds the network again."""
    from sapool.base.environment import describe_environment
    from sapool.base.files import write_text_atomically

    if plan is not None:
        write_text_atomically(out / PLAN, plan.to_json())
    else:  # not one that is left of what --force replaces
        (out / PLAN).unlink(missing_ok=True)
    write_text_atomically(out / RECORD, json.dumps(record | {"environment": describe_environment()}, indent=2))


def untrained_config(model: str, data: str, input_size: int, plan: PoolingPlan | None) -> dict[str, Any]:
    """Return what a pruned network that no ``sapool train`` made needs of a run's configuration."""
    from sapool.training import TrainConfig

    given = {"skip_bad": False, "train_images": None, "fragments": None}
    whole = {"model": model, "data": data, "input_size": input_size, "recipe": asdict(TrainConfig()), **given}
    held: dict[str, Any] = json.loads(json.dumps(whole | {"plan": None if plan is None else asdict(plan)}))
    return held
