"""``sapool prune``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from sapool.base.image_size import InputSize as ImageSize
from sapool.base.image_size import as_input_size
from sapool.base.sizes import parse_count, parse_size
from sapool.cli.console import (
    AsJson,
    InputSize,
    Terminal,
    check_folder,
    messages,
    names_in,
    print_table,
    read_plan,
    resumable,
    say,
)

if TYPE_CHECKING:
    from sapool.base.records import PoolingPlan
    from sapool.pruning import PruneRecord


def prune(
    model: Annotated[
        str,
        typer.Argument(
            help="Network: sapool:tiny, timm:NAME, torchvision:NAME, authors:NAME or my_net.py:MyNet; or a folder of "
            "sapool train."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write the pruned network to.")],
    input_size: InputSize = "64",
    num_classes: Annotated[int, typer.Option(help="Outputs of the classifier.")] = 10,
    plan: Annotated[Path | None, typer.Option(help="A plan.json to apply first.")] = None,
    pool: Annotated[str | None, typer.Option(help="In place of --plan: the pooling.")] = None,
    strides: Annotated[str | None, typer.Option(help="In place of --plan: one a site, comma-separated.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Trained weights: .safetensors, or the folder of a run with its plan.json.")
    ] = None,
    ratio: Annotated[float | None, typer.Option(help="Share of channels to remove, over 0 and under 1.")] = None,
    ram: Annotated[str | None, typer.Option(help="Prune until the predicted arena is at most this: 64KiB.")] = None,
    macs: Annotated[str | None, typer.Option(help="Prune until there are at most so many: 10M, 300k.")] = None,
    importance: Annotated[
        str, typer.Option(help="magnitude, group_norm, bn_scale, or taylor (looks at --data).")
    ] = "magnitude",
    data: Annotated[str, typer.Option(help="Data set whose loss --importance taylor looks at.")] = "scattered-digits",
    round_to: Annotated[int, typer.Option(help="Channels that remain are a multiple of this.")] = 8,
    global_pruning: Annotated[
        bool, typer.Option("--global", help="With --ratio: rank the channels of all layers together.")
    ] = False,
    exclude: Annotated[str, typer.Option(help="Layers to leave alone, comma-separated.")] = "",
    passes: Annotated[str, typer.Option(help="Rewrites of the export that is predicted.")] = "all",
    steps: Annotated[int, typer.Option(help="Approach the target in so many steps.")] = 1,
    epochs: Annotated[int, typer.Option(help="Of a run's folder: fine-tune so long behind every step.")] = 0,
    learning_rate: Annotated[
        float | None, typer.Option(help="Its peak in the fine-tuning; default: a tenth of the run's.")
    ] = None,
    teacher: Annotated[bool, typer.Option("--teacher", help="Fine-tune with the unpruned network as teacher.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is in the folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove channels from a network, pools and all, down to a share, an arena or a number of multiply-accumulates.

    With --ram channels go first where they make the peak. Writes weights.safetensors, channels.json (the widths that
    fit them), prune.json (the record) and the plan; sapool.load_pruned and sapool export read them back.

    A folder of sapool train brings its network, plan, weights, size, data and recipe along. With --epochs the network
    is fine-tuned on that data behind every step, and the same command goes on where an interrupted one stopped.
    Without, nothing is trained: a pruned network must be fine-tuned.

    Example: sapool prune runs/first --ram 96KiB --steps 2 --epochs 5 --teacher --out runs/pruned

    Example: sapool prune sapool:tiny --input-size 32 --ratio 0.3 --out runs/small
    """
    check_folder(out)
    asked: dict[str, Any] = {
        "ratio": ratio,
        "ram_bytes": None if ram is None else parse_size(ram),
        "macs": None if macs is None else parse_count(macs),
        "importance": importance,
        "round_to": round_to,
        "global_pruning": global_pruning,
        "exclude": names_in(exclude),
        "passes": passes,
    }
    if Path(model).is_dir():
        if any(option is not None for option in (plan, weights, pool, strides)):
            said = "leave --plan, --pool, --strides and --weights out"
            raise ValueError(f"{model} is a run's folder and has its own plan and weights: {said}")
        tuning: dict[str, Any] = {"epochs": epochs, "learning_rate": learning_rate, "teacher": teacher}
        _prune_run(model, out, asked, {"steps": steps, **tuning}, as_json)
        return
    if epochs or teacher or learning_rate is not None:
        raise ValueError(f"--epochs, --learning-rate and --teacher go with a folder of sapool train, {model} is none")
    if plan is not None and (pool is not None or strides is not None):
        raise ValueError("--plan excludes --pool and --strides: the plan has them")
    if weights is None:
        messages.print("no --weights: the network is untrained, its channels' importances are chance")
    from sapool.networks.load import input_size_for

    size = input_size_for(model, input_size)
    planned = _plan(model, num_classes, size, plan, (pool, strides))
    wanted = (model, num_classes, size, planned, weights, data, asked | {"iterative_steps": steps})
    _prune_named(wanted, out, force, as_json)


def _prune_named(wanted: tuple[Any, ...], out: Path, force: bool, as_json: bool) -> None:
    from sapool.pruning import PruneRecord
    from sapool.workflows.prune import NamedRequest, prune_named

    held = prune_named(NamedRequest(*wanted), out, force=force, reporter=Terminal()).record["prune"]
    if as_json:
        sys.stdout.write(json.dumps(held, indent=2) + "\n")
    else:
        _show(PruneRecord.from_json(json.dumps(held)), wanted[0])
        messages.print(f"written to {out}; fine-tune it before it is used")


def _prune_run(model: str, out: Path, asked: dict[str, Any], tuning: dict[str, Any], as_json: bool) -> None:
    from sapool.pruning import PruneRecord
    from sapool.workflows.prune import prune_run

    with resumable():
        record = prune_run(model, out, **tuning, reporter=Terminal(), **asked).record
    if as_json:
        sys.stdout.write(json.dumps(record, indent=2) + "\n")
        return
    _show(PruneRecord.from_json(json.dumps(record["prune"])), model)
    _show_tuning(record["tuning"])
    say(f"go on with: sapool export {out} --out model.tflite")


def _plan(
    model: str, num_classes: int, input_size: ImageSize, plan: Path | None, choice: tuple[str | None, str | None]
) -> PoolingPlan | None:
    from sapool.cli.plan_table import parse_strides
    from sapool.networks.load import load_model
    from sapool.planning.plan import make_plan

    if any(choice):
        network = load_model(model, num_classes, in_channels=as_input_size(input_size)[0])
        return make_plan(network, input_size, choice[0] or "self_attentive", parse_strides(choice[1]))
    return None if plan is None else read_plan(plan, input_size)


def _show(record: PruneRecord, model: str) -> None:
    table = Table(title=f"{model}: {record.target} {record.value:,} by {record.importance}")
    for name in ("", "before", "after", "of before"):
        table.add_column(name, justify="left" if not name else "right")
    rows = {
        "parameters": "parameters",
        "macs": "multiply-accumulates",
        "head_bytes": "head (predicted bytes)",
        "tail_bytes": "tail",
        "arena_bytes": "arena",
    }
    for name, label in rows.items():
        before, after = getattr(record.before, name), getattr(record.after, name)
        if before is not None and after is not None:
            table.add_row(label, f"{before:,}", f"{after:,}", f"{after / before:.1%}")
    print_table(table)
    layers = Table(title="channels")
    for name in ("layer", "in", "out"):
        layers.add_column(name, justify="left" if name == "layer" else "right")
    for layer in record.layers:
        layers.add_row(layer.name, f"{layer.in_before} > {layer.in_after}", f"{layer.out_before} > {layer.out_after}")
    print_table(layers)


def _show_tuning(tuning: dict[str, Any]) -> None:
    table = Table(title="accuracy on validation")
    for name in ("", "parameters", "pruned", "fine-tuned"):
        table.add_column(name, justify="left" if not name else "right")
    table.add_row("before", "", f"{tuning['before_val_accuracy']:.1%}", "")
    for step in tuning["steps"]:
        tuned = step["tuned_val_accuracy"]
        said = "-" if tuned is None else f"{tuned:.1%}"
        table.add_row(f"step {step['step']}", f"{step['parameters']:,}", f"{step['pruned_val_accuracy']:.1%}", said)
    print_table(table)
    sys.stdout.write(f"on test: {tuning['before_test_accuracy']:.1%} before, {tuning['test_accuracy']:.1%} now\n")
