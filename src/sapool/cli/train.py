"""``sapool train``."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from sapool.cli.console import AsJson, InputSize, Terminal, check_folder, names_in, print_table, read_plan, resumable
from sapool.workflows.run_folder import PLAN, RECORD, WEIGHTS, planned_model, read_run

if TYPE_CHECKING:
    from torch import nn

    from sapool.base.records import PoolingPlan, Reporter
    from sapool.training import DataSplits, Hardware, TrainConfig


@dataclass(frozen=True)
class TrainRequest:
    """What determines the result of one ``sapool train``: what its folder's ``config.json`` holds."""

    model: str
    data: str
    input_size: int
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
        parts = (self.data, self.model, "+".join(pools), f"{self.input_size}px", Path(recipe_name).stem)
        return Path("runs") / "_".join(part.strip("/").replace(":", "-").replace("/", "-") for part in parts)


def train(
    model: Annotated[
        str, typer.Option(help="Network: sapool:tiny, timm:NAME, torchvision:NAME or authors:NAME.")
    ] = "sapool:tiny",
    data: Annotated[
        str, typer.Option(help="Data: NAME, NAME:FOLDER or FOLDER; scattered-digits is built in.")
    ] = "scattered-digits",
    input_size: InputSize = 64,
    pool: Annotated[str | None, typer.Option(help="Pooling to put in (sapool plan shows what becomes of it).")] = None,
    strides: Annotated[str | None, typer.Option(help="One a site, comma-separated: 4,2,2,2,1. Default: as is.")] = None,
    plan: Annotated[Path | None, typer.Option(help="In place of --pool and --strides: a plan of sapool plan.")] = None,
    recipe: Annotated[str, typer.Option(help="A recipe's name (an unknown one lists them) or .yaml file.")] = "default",
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training split, in place of the recipe's.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step over all processes, likewise.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate, likewise.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Weight decay, likewise.")] = None,
    augment: Annotated[str | None, typer.Option(help="Augmentations, comma-separated, likewise; '' for none.")] = None,
    patience: Annotated[int | None, typer.Option(help="Stop after so many epochs without gain, likewise.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, data and order, likewise.")] = None,
    teacher: Annotated[Path | None, typer.Option(help="Folder of a finished sapool train to learn from.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave damaged images out, and count them.")] = False,
    train_images: Annotated[int | None, typer.Option(help="Use only so many training images.")] = None,
    fragments: Annotated[int | None, typer.Option(help="Clutter of the scattered data sets.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that load images; 0: the one that trains.")] = 0,
    precision: Annotated[str, typer.Option(help="32, bf16-mixed or 16-mixed.")] = "32",
    compile_network: Annotated[bool, typer.Option("--compile", help="Fuse the network with torch.compile.")] = False,
    channels_last: Annotated[bool, typer.Option(help="Store maps as (N, H, W, C).")] = True,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard's files beside logs/metrics.csv.")] = True,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the results; default: runs/ + data, model, pooling, size and recipe."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train any network with any pooling plan on any data, by a recipe; the epoch is chosen on validation.

    The same command again goes on where an interrupted or killed one stopped, and gives the result of an unbroken
    run; a finished one is read back. The folder gets weights.safetensors, plan.json, record.json, logs/ and
    checkpoints/. Several accelerators: the same command behind torchrun --nproc-per-node N -m sapool.

    Example: sapool train --epochs 10 --pool avg --out runs/first

    Example: sapool train --model timm:mobilenetv2_035 --data cifar10:/data/cifar10 --input-size 96
    --pool self_attentive --strides 4,2,2,2,1 --recipe modern --workers 4
    """
    from sapool.training import Hardware, read_recipe

    check_folder(out)
    hardware = Hardware(
        workers, precision, compile_network, channels_last, accelerator, tensorboard=tensorboard
    )  # fmt: skip
    config = read_recipe(
        recipe,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        augment=None if augment is None else names_in(augment),
        patience=patience,
        seed=seed,
    )
    splits = load_splits(data, input_size, config, skip_bad, train_images, fragments)
    planned = _plan(model, splits.num_classes, input_size, pool, strides, plan)
    said = None if teacher is None else str(teacher)
    request = TrainRequest(model, data, input_size, planned, config, said, skip_bad, train_images, fragments)
    folder = out or request.default_folder(recipe)
    with resumable():
        record = run(request, splits, folder, hardware, Terminal())
    if _is_first():
        if as_json:
            sys.stdout.write(json.dumps(record, indent=2) + "\n")
        else:
            _show(record, folder)


def load_splits(
    data: str,
    input_size: int,
    config: TrainConfig,
    skip_bad: bool = False,
    train_images: int | None = None,
    fragments: int | None = None,
) -> DataSplits:
    """Load data as a recipe wants it."""
    from sapool.training import load_data

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
    model: str, num_classes: int, input_size: int, pool: str | None, strides: str | None, plan: Path | None
) -> PoolingPlan | None:
    """Return the plan asked for, or None for the network as it is.

    Raises:
        ValueError: options that exclude each other, or a plan of another size.
    """
    from sapool.cli.plan_table import parse_strides
    from sapool.networks.load import load_model
    from sapool.planning.plan import make_plan

    if plan is None:
        if pool is None and strides is None:
            return None
        network = load_model(model, num_classes)
        return make_plan(network, input_size, pool or "self_attentive", parse_strides(strides))
    if pool is not None or strides is not None:
        raise ValueError("--plan and --pool or --strides exclude each other")
    return read_plan(plan, input_size)


def run(
    request: TrainRequest, data: DataSplits, folder: Path, hardware: Hardware, reporter: Reporter
) -> dict[str, Any]:
    """Train and write the folder, or read back what is finished there; return the record.

    Raises:
        ValueError: the folder holds another configuration, or a teacher that does not match.
        KeyboardInterrupt: Ctrl-C; the same call goes on later.
    """
    import torch

    from sapool.base.records import SilentReporter
    from sapool.training import save_weights
    from sapool.training import train as train_network
    from sapool.workflows.running import claimed, read_finished

    torch.manual_seed(request.recipe.seed)
    network = planned_model(request.model, data.num_classes, request.plan)
    _check_size(network, request)
    teacher = _teacher(request, data)
    first = _is_first()
    if not first:
        reporter = SilentReporter()
    with claimed(folder, request.to_dict(), "sapool train") if first else nullcontext():
        if (folder / RECORD).is_file() and (folder / WEIGHTS).is_file():
            reporter.stage(f"finished before, read from {folder / RECORD}")
            return read_finished(folder / RECORD, ("result", "data", "parameters"))
        _announce(request, network, data, reporter)
        try:
            outcome = train_network(
                network, data, request.recipe, folder, reporter=reporter, hardware=hardware, teacher=teacher
            )
        except ValueError as error:
            raise _advised(error) from None
    record = _record(request, data, hardware, asdict(outcome), sum(p.numel() for p in network.parameters()))
    if first:
        save_weights(network, folder / WEIGHTS)
        _write(record, request, folder)
    return record


def _check_size(network: nn.Module, request: TrainRequest) -> None:
    from sapool.networks.traced import InputSizeError, run_once

    try:
        run_once(network, request.input_size)
    except InputSizeError as error:
        raise ValueError(f"--model {request.model}: {error}; choose another --input-size") from None


def _advised(error: ValueError) -> ValueError:
    """Add to a damaged image's line what can be done."""
    from sapool.training.data import DataError

    return DataError(f"{error}; mend it, or say --skip-bad") if isinstance(error, DataError) else error


def _is_first() -> bool:
    from sapool.training import processes

    return processes().rank == 0


def _announce(request: TrainRequest, network: nn.Module, data: DataSplits, reporter: Reporter) -> None:
    parameters = sum(p.numel() for p in network.parameters())
    skipped = sum(data.skipped.values())
    left_out = f", {skipped:,} damaged images left out" if skipped else ""
    reporter.stage(
        f"{request.model}: {parameters:,} parameters; {request.data} at {request.input_size} px: "
        f"{data.images_per_epoch:,} training images, {data.num_classes} classes{left_out}; "
        f"{request.recipe.epochs} epochs"
    )


def _teacher(request: TrainRequest, data: DataSplits) -> nn.Module | None:
    if request.teacher is None:
        return None
    taught = read_run(Path(request.teacher))
    if taught.num_classes != data.num_classes:
        raise ValueError(f"--teacher {request.teacher} knows {taught.num_classes} classes, the data {data.num_classes}")
    for label, (theirs, ours) in enumerate(zip(taught.classes, data.classes, strict=False)):
        if theirs != ours:
            raise ValueError(f"--teacher {request.teacher} knows class {label} as {theirs!r}, the data as {ours!r}")
    recipe = taught.config["recipe"]
    for name in ("mean", "std"):
        wanted, given = recipe[name], getattr(request.recipe, name)
        if (None if wanted is None else tuple(wanted)) != given:
            raise ValueError(f"--teacher {request.teacher} wants images with {name} {wanted}, the recipe has {given}")
    return taught.network()


def _record(
    request: TrainRequest, data: DataSplits, hardware: Hardware, outcome: dict[str, Any], parameters: int
) -> dict[str, Any]:
    from sapool.base.environment import describe_environment
    from sapool.training import processes

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


def _write(record: dict[str, Any], request: TrainRequest, folder: Path) -> None:
    from sapool.base.files import write_text_atomically

    if request.plan is not None:
        write_text_atomically(folder / PLAN, request.plan.to_json())
    # Last of all: it says that the rest is there.
    write_text_atomically(folder / RECORD, json.dumps(record, indent=2))


def _show(record: dict[str, Any], folder: Path) -> None:
    result, data = record["result"], record["data"]
    table = Table(title=str(folder), show_header=False)
    rows = [
        ("validation accuracy", f"{result['val_accuracy']:.1%} (epoch {result['best_epoch']}, chosen by it)"),
        ("test accuracy", f"{result['test_accuracy']:.1%}"),
        ("epochs", f"{result['stopped_epoch']} of {result['epochs']}"),
        ("images", f"{data['train']:,} train, {data['val']:,} validation, {data['test']:,} test"),
        ("damaged, left out", f"{result['skipped']:,}"),
        ("time", f"{result['train_seconds']:.0f} s, {result['images_per_second']:,.0f} images/s"),
        ("parameters", f"{record['parameters']:,}"),
    ]
    for row in rows:
        table.add_row(*row)
    print_table(table)
    sys.stdout.write(f"go on with: sapool export {folder} --out model.tflite\n")
