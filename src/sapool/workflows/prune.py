"""``sapool prune``: channels removed from a finished run, with its data and recipe, or from a network by name."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from sapool.base.arena import as_plain
from sapool.base.environment import describe_environment
from sapool.base.files import write_text_atomically
from sapool.base.image_size import InputSize, as_input_size
from sapool.base.records import PoolingPlan, Reporter, SilentReporter, record_to_json
from sapool.pruning import Pruned, prune_channels, save_pruned
from sapool.pruning.tuning import Tuned, labelled_batches, prune_and_tune, tuning_recipe
from sapool.training import TrainConfig, load_data, load_weights
from sapool.workflows.folder import PLAN, PRUNED, TUNING, WEIGHTS, FolderConflictError, RunFolder
from sapool.workflows.opened import OpenedRun, planned_model, read_run


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

    def recipe(self, run: OpenedRun) -> TrainConfig | None:
        """Return the recipe of the fine-tuning."""
        if not self.epochs:
            return None
        tuned = tuning_recipe(run.recipe(), self.epochs)
        return tuned if self.learning_rate is None else replace(tuned, learning_rate=self.learning_rate)


def prune_run(
    run: str | Path,
    out: str | Path,
    *,
    steps: int = 1,
    epochs: int = 0,
    learning_rate: float | None = None,
    teacher: bool = False,
    reporter: Reporter | None = None,
    **pruning: Any,
) -> OpenedRun:
    """Do what ``sapool prune FOLDER`` does: prune a finished run into a folder, or read back what is finished there.

    Args:
        run: folder of a finished :func:`sapool.train_run`, or of an earlier pruning.
        out: gets ``weights.safetensors``, ``channels.json``, ``prune.json``, a folder a step and, last of all,
            ``record.json``.
        steps: prunings, each with a fine-tuning behind it.
        epochs: of each fine-tuning; 0: none.
        learning_rate: its peak, or None for a tenth of the run's.
        teacher: whether the unpruned network teaches.
        reporter: is told stages and progress.
        **pruning: keywords of :func:`sapool.prune_channels`: ``ratio``, ``ram_bytes`` or ``macs``, and its others.

    Returns:
        The pruned run: its folder and record, its plan, weights and network.

    Raises:
        ValueError: no such run, a mistake in the request, or a folder of another one.
        KeyboardInterrupt: Ctrl-C; the same call goes on later.

    Example::

        pruned = sapool.prune_run("runs/first", "runs/pruned", ram_bytes=96 * 1024, steps=2, epochs=5, teacher=True)
        print(pruned.record["tuning"]["test_accuracy"])
    """
    request = PruneRequest(str(run), pruning, steps, epochs, learning_rate, teacher)
    told, folder = reporter or SilentReporter(), RunFolder(out, PRUNED)
    request.check()
    before = read_run(run)
    network, recipe = before.network(), request.recipe(before)
    with folder.claimed(asdict(request)):
        if folder.is_whole():
            told.stage(f"finished before, read from {folder.file(PRUNED.last)}")
            return OpenedRun(folder.path, PRUNED.command, folder.read("config", "prune", "tuning"))
        tuned = prune_and_tune(
            network,
            before.input_size,
            before.data(epochs=max(1, epochs)),
            folder.path,
            recipe=recipe,
            teacher=teacher,
            reporter=told,
            iterative_steps=steps,
            **pruning,
        )
        return _finish(folder, before, tuned, request)


def _finish(folder: RunFolder, before: OpenedRun, tuned: Tuned, request: PruneRequest) -> OpenedRun:
    data = {"num_classes": before.num_classes, "classes": list(before.classes)}
    record = {
        "config": _config_of(before),
        "request": asdict(request),
        "prune": as_plain(tuned.pruned.record),
        "tuning": asdict(tuned.record),
        "data": data,
        "environment": describe_environment(),
    }
    save_pruned(tuned.pruned, before.unpruned(), folder.path)
    write_text_atomically(folder.file(TUNING), record_to_json(tuned.record))
    folder.write_plan(before.plan)
    folder.finish(json.dumps(record, indent=2))
    return OpenedRun(folder.path, PRUNED.command, json.loads(json.dumps(record)))


def _config_of(run: OpenedRun) -> dict[str, Any]:
    """Return what a pruned run must know of the run it comes from, whichever command made that."""
    plan = None if run.plan is None else asdict(run.plan)
    given = {"skip_bad": False, "train_images": None, "fragments": None}
    told = run.runs[0].config if run.runs else run.config
    return {**given, **told, "plan": plan, "input_size": run.input_size, "recipe": asdict(run.recipe())}


@dataclass(frozen=True)
class NamedRequest:
    """A network by name that is to be pruned.

    Attributes:
        model: its name.
        num_classes: outputs of its classifier.
        input_size: a side, or (C, H, W).
        plan: the plan to put in first, or None.
        weights: a file, or the folder of a run with its plan, or None: untrained.
        data: whose loss ``importance="taylor"`` looks at.
        pruning: keywords of ``prune_channels``.
    """

    model: str
    num_classes: int
    input_size: InputSize
    plan: PoolingPlan | None
    weights: Path | None
    data: str
    pruning: dict[str, Any]

    def network(self) -> nn.Module:
        """Return the network with its plan and weights, in eval mode."""
        network = planned_model(self.model, self.num_classes, self.planned(), as_input_size(self.input_size)[0])
        if self.weights is not None:
            load_weights(network, self.weights / WEIGHTS if self.weights.is_dir() else self.weights)
        return network.eval()

    def planned(self) -> PoolingPlan | None:
        """Return the plan: the one that is given, or the one that lies beside the weights."""
        path = None if self.plan is not None or self.weights is None else self.weights / PLAN
        return self.plan if path is None or not path.is_file() else PoolingPlan.from_json(path.read_text())


def prune_named(
    request: NamedRequest, out: str | Path, *, force: bool = False, reporter: Reporter | None = None
) -> OpenedRun:
    """Do what ``sapool prune NAME`` does: prune a network by name into a folder.

    Args:
        request: what to prune, and how.
        out: gets ``weights.safetensors``, ``channels.json``, ``prune.json`` and, last of all, ``record.json``.
        force: replace what is in it: what says of an earlier result that it is one goes before anything is written.
        reporter: is told stages and progress.

    Raises:
        ValueError: an unknown name, weights or a plan of another network, a target that can't be reached.
        FolderConflictError: the folder is not empty, or another process is at work in it.
    """
    folder = RunFolder(out, PRUNED)
    with folder.locked():
        if any(folder.path.iterdir()) and not force:
            raise FolderConflictError(f"{folder.path} is not empty; choose another --out or say --force")
        network = request.network()
        size = request.input_size
        batches = labelled_batches(load_data(request.data, size)) if request.pruning["importance"] == "taylor" else None
        pruned = prune_channels(network, size, **request.pruning, data=batches, reporter=reporter)
        return _finish_named(folder, request, network, pruned)


def _finish_named(folder: RunFolder, request: NamedRequest, network: nn.Module, pruned: Pruned) -> OpenedRun:
    planned = request.planned()
    given = {"skip_bad": False, "train_images": None, "fragments": None, "recipe": asdict(TrainConfig())}
    config = {"model": request.model, "data": request.data, "input_size": request.input_size, **given}
    record = {
        "config": config | {"plan": None if planned is None else asdict(planned)},
        "prune": as_plain(pruned.record),
        "data": {"num_classes": request.num_classes, "classes": []},
        "environment": describe_environment(),
    }
    folder.forget()
    save_pruned(pruned, network, folder.path)
    folder.write_plan(planned)
    folder.finish(json.dumps(record, indent=2))
    return OpenedRun(folder.path, PRUNED.command, json.loads(json.dumps(record)))
