"""``sapool train``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from sapool.cli.console import (
    AsJson,
    InputSize,
    Model,
    Terminal,
    check_folder,
    names_in,
    print_table,
    read_plan,
    resumable,
    say,
)
from sapool.cli.plan_table import parse_strides


def train(
    model: Model = "sapool:tiny",
    data: Annotated[
        str, typer.Option(help="Data: NAME, NAME:FOLDER or FOLDER; scattered-digits is built in.")
    ] = "scattered-digits",
    input_size: InputSize = "64",
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
    from sapool.networks.load import input_size_for
    from sapool.training import Hardware, processes
    from sapool.workflows.train import train_run

    check_folder(out)
    if plan is not None and (pool is not None or strides is not None):
        raise ValueError("--plan and --pool or --strides exclude each other")
    size = input_size_for(model, input_size)
    hardware = Hardware(
        workers, precision, compile_network, channels_last, accelerator, tensorboard=tensorboard
    )  # fmt: skip
    with resumable():
        done = train_run(
            model,
            data,
            size,
            pool=pool,
            strides=parse_strides(strides),
            plan=None if plan is None else read_plan(plan, size),
            recipe=recipe,
            teacher=teacher,
            skip_bad=skip_bad,
            train_images=train_images,
            fragments=fragments,
            out=out,
            hardware=hardware,
            reporter=Terminal(),
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            augment=None if augment is None else names_in(augment),
            patience=patience,
            seed=seed,
        )
    if processes().rank == 0:
        if as_json:
            sys.stdout.write(json.dumps(done.record, indent=2) + "\n")
        else:
            _show(done.record, done.folder)


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
    say(f"go on with: sapool export {folder} --out model.tflite")
