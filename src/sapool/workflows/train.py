"""``sapool train``: any network with any plan on any data, by a recipe, in a folder that a killed run goes on in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sapool.base.environment import describe_environment
from sapool.base.image_size import InputSize, as_input_size, size_slug, size_text
from sapool.base.records import PoolingPlan, Reporter, SilentReporter
from sapool.networks.load import load_model
from sapool.networks.traced import InputSizeError, run_once
from sapool.planning.plan import Stride, make_plan
from sapool.training import DataSplits, Hardware, TrainConfig, load_data, processes, read_recipe, save_weights
from sapool.training import train as train_network
from sapool.training.data import DataError
from sapool.workflows.folder import TRAIN, WEIGHTS, RunFolder
from sapool.workflows.opened import OpenedRun, planned_model, read_run


@dataclass(frozen=True)
class TrainRequest:
    """What determines the result of one ``sapool train``: what its folder's ``config.json`` holds.

    Attributes:
        model: the network's name.
        data: a source that ``load_data`` takes.
        input_size: a side, or (C, H, W).
        plan: the plan to put in; None leaves the network as it is.
        recipe: how it is trained.
        teacher: folder of a finished run to learn from.
        skip_bad: leave damaged images out, and count them.
        train_images: use only so many.
        fragments: clutter of the scattered data sets.
    """

    model: str
    data: str
    input_size: InputSize
    plan: PoolingPlan | None
    recipe: TrainConfig
    teacher: str | None = None
    skip_bad: bool = False
    train_images: int | None = None
    fragments: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it in JSON's types."""
        return json.loads(json.dumps(asdict(self)))

    def default_folder(self, recipe_name: str) -> Path:
        """Return ``runs/`` + data, model, pooling, size and recipe."""
        pools = sorted({site.pool for site in self.plan.sites}) if self.plan is not None else ["as-is"]
        parts = (
            self.data,
            self.model,
            "+".join(pools),
            size_slug(self.input_size),
            Path(recipe_name).stem,
        )
        size = str(self.input_size) if isinstance(self.input_size, int) else "x".join(map(str, self.input_size))
        parts = (self.data, self.model, "+".join(pools), f"{size}px", Path(recipe_name).stem)
        return Path("runs") / "_".join(part.strip("/").replace(":", "-").replace("/", "-") for part in parts)


def train_run(
    model: str = "sapool:tiny",
    data: str = "scattered-digits",
    input_size: InputSize = 64,
    *,
    pool: str | None = None,
    strides: Sequence[Stride] | None = None,
    plan: PoolingPlan | None = None,
    recipe: str | Path | TrainConfig = "default",
    teacher: str | Path | None = None,
    skip_bad: bool = False,
    train_images: int | None = None,
    fragments: int | None = None,
    out: str | Path | None = None,
    hardware: Hardware | None = None,
    reporter: Reporter | None = None,
    **changes: Any,
) -> OpenedRun:
    """Do what ``sapool train`` does: train a network into a folder, or read back what is finished there.

    The same call again goes on where an interrupted or killed one stopped, and gives the result of an unbroken run.

    Args:
        model: a name that :func:`sapool.load_model` takes.
        data: a source that :func:`sapool.load_data` takes.
        input_size: a side, or (C, H, W), in pixels.
        pool: a pooling to put in, at ``strides`` or the network's own.
        strides: one a site; without ``pool`` those of self-attentive pools.
        plan: in place of ``pool`` and ``strides``.
        recipe: a recipe's name, its ``.yaml`` file, or the recipe itself.
        teacher: folder of a finished run to learn from.
        skip_bad: leave damaged images out, and count them.
        train_images: use only so many training images.
        fragments: clutter of the scattered data sets.
        out: folder of the results; by default one under ``runs/`` named after data, model, pooling, size and recipe.
        hardware: how it is executed.
        reporter: is told stages and progress.
        **changes: fields of the recipe to change: ``epochs``, ``batch_size``, ``learning_rate``, ``augment``, ``seed``.

    Returns:
        The run: its folder and record, its plan, weights and network.

    Raises:
        ValueError: a user's mistake: an unknown name, a size the network can't take, a teacher that does not match, a
            folder of another configuration.
        KeyboardInterrupt: Ctrl-C; the same call goes on later.

    Example::

        run = sapool.train_run("sapool:tiny", input_size=32, pool="avg", epochs=10, out="runs/first")
        print(run.record["result"]["test_accuracy"])
        network = run.network()
    """
    config = replace(recipe, **changes) if isinstance(recipe, TrainConfig) else read_recipe(recipe, **changes)
    splits = load_splits(data, input_size, config, skip_bad, train_images, fragments)
    planned = _plan(model, splits.num_classes, input_size, pool, strides, plan)
    taught = None if teacher is None else str(teacher)
    request = TrainRequest(model, data, input_size, planned, config, taught, skip_bad, train_images, fragments)
    named = "own" if isinstance(recipe, TrainConfig) else str(recipe)
    folder = Path(out) if out is not None else request.default_folder(named)
    return run_request(request, splits, folder, hardware or Hardware(), reporter or SilentReporter())


def load_splits(
    data: str,
    input_size: InputSize,
    config: TrainConfig,
    skip_bad: bool = False,
    train_images: int | None = None,
    fragments: int | None = None,
) -> DataSplits:
    """Load data as a recipe wants it."""
    return load_data(
        data,
        input_size,
        epochs=config.epochs,
        seed=config.seed,
        augment=config.augment,
        mean=config.mean,
        std=config.std,
        skip_bad=skip_bad,
        train_images=train_images,
        fragments=fragments,
    )


def _plan(
    model: str,
    num_classes: int,
    input_size: InputSize,
    pool: str | None,
    strides: Sequence[Stride] | None,
    plan: PoolingPlan | None,
) -> PoolingPlan | None:
    """Return the plan asked for, or None for the network as it is."""
    if plan is not None:
        if pool is not None or strides is not None:
            raise ValueError("plan excludes pool and strides: it has them")
        return plan
    if pool is None and strides is None:
        return None
    return make_plan(
        load_model(model, num_classes, in_channels=as_input_size(input_size)[0]),
        input_size,
        pool or "self_attentive",
        strides,
    )


def run_request(
    request: TrainRequest, data: DataSplits, out: Path, hardware: Hardware, reporter: Reporter
) -> OpenedRun:
    """Train and write the folder, or read back what is finished there.

    Raises:
        ValueError: the folder holds another configuration, or a teacher that does not match.
        KeyboardInterrupt: Ctrl-C; the same call goes on later.
    """
    torch.manual_seed(request.recipe.seed)
    network = planned_model(request.model, data.num_classes, request.plan, as_input_size(request.input_size)[0])
    _check_size(network, request)
    teacher = _teacher(request, data)
    folder, first = RunFolder(out, TRAIN), processes().rank == 0
    told = reporter if first else SilentReporter()
    with folder.claimed(request.to_dict()) if first else nullcontext():
        if folder.is_whole():
            told.stage(f"finished before, read from {folder.file(TRAIN.last)}")
            return OpenedRun(out, TRAIN.command, folder.read("config", "result", "data", "parameters"))
        _announce(request, network, data, told)
        try:
            outcome = train_network(
                network, data, request.recipe, out, reporter=told, hardware=hardware, teacher=teacher
            )
        except DataError as error:
            raise DataError(f"{error}; mend it, or say --skip-bad") from None
        parameters = sum(p.numel() for p in network.parameters())
        record = _record(request, data, hardware, asdict(outcome), parameters)
        if first:
            save_weights(network, folder.file(WEIGHTS))
            folder.write_plan(request.plan)
            folder.finish(json.dumps(record, indent=2))
    return OpenedRun(out, TRAIN.command, record)


def _check_size(network: nn.Module, request: TrainRequest) -> None:
    try:
        run_once(network, request.input_size)
    except InputSizeError as error:
        raise ValueError(f"--model {request.model}: {error}; choose another --input-size") from None


def _announce(request: TrainRequest, network: nn.Module, data: DataSplits, reporter: Reporter) -> None:
    parameters = sum(p.numel() for p in network.parameters())
    skipped = sum(data.skipped.values())
    left_out = f", {skipped:,} damaged images left out" if skipped else ""
    reporter.stage(
        f"{request.model}: {parameters:,} parameters; {request.data} at {size_text(request.input_size)}: "
        f"{data.images_per_epoch:,} training images, {data.num_classes} classes{left_out}; "
        f"{request.recipe.epochs} epochs"
    )


def _teacher(request: TrainRequest, data: DataSplits) -> nn.Module | None:
    if request.teacher is None:
        return None
    taught = read_run(request.teacher)
    if taught.num_classes != data.num_classes:
        raise ValueError(f"--teacher {request.teacher} knows {taught.num_classes} classes, the data {data.num_classes}")
    for label, (theirs, ours) in enumerate(zip(taught.classes, data.classes, strict=False)):
        if theirs != ours:
            raise ValueError(f"--teacher {request.teacher} knows class {label} as {theirs!r}, the data as {ours!r}")
    recipe = taught.recipe()
    for name in ("mean", "std"):
        wanted, given = getattr(recipe, name), getattr(request.recipe, name)
        if wanted != given:
            raise ValueError(f"--teacher {request.teacher} wants images with {name} {wanted}, the recipe has {given}")
    return taught.network()


def _record(
    request: TrainRequest, data: DataSplits, hardware: Hardware, outcome: dict[str, Any], parameters: int
) -> dict[str, Any]:
    return {
        "config": request.to_dict(),
        "result": outcome,
        "parameters": parameters,
        "data": {
            "train": data.images_per_epoch,
            "val": len(data.val),  # type: ignore[arg-type]
            "test": len(data.test),  # type: ignore[arg-type]
            "num_classes": data.num_classes,
            "classes": list(data.classes),
            "skipped": dict(data.skipped),
        },
        "hardware": asdict(hardware) | {"processes": processes().world_size},
        "environment": describe_environment(),
    }
