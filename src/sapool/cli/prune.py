"""``sapool prune``."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from sapool.cli.console import AsJson, InputSize, Terminal, messages, names_in, parse_size, print_table, read_text

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sapool.pruning import PruneRecord
    from sapool.records import PoolingPlan

_FACTORS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_BATCH, _BATCHES = 32, 8
_PLAN, _WEIGHTS = "plan.json", "weights.safetensors"


def prune(
    model: Annotated[str, typer.Argument(help="Network: sapool:tiny, timm:NAME, torchvision:NAME or authors:NAME.")],
    out: Annotated[Path, typer.Option(help="Folder to write the pruned network to.")],
    input_size: InputSize = 64,
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
    force: Annotated[bool, typer.Option("--force", help="Replace what is in the folder.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove channels from a network, pools and all, down to a share, an arena or a number of multiply-accumulates.

    With --ram channels go first where they make the peak. Writes weights.safetensors, channels.json (the widths that
    fit them), prune.json (the record) and the plan; sapool.load_pruned reads them back. Nothing is trained: a pruned
    network must be fine-tuned.

    Example: sapool prune sapool:tiny --input-size 32 --ratio 0.3 --out runs/pruned

    Example: sapool prune timm:mobilenetv2_035 --input-size 64 --ram 96KiB --out runs/pruned
    """
    if (out / _WEIGHTS).exists() and not force:
        raise ValueError(f"{out} holds a network already; choose another --out or say --force")
    from sapool.pruning import prune_channels, save_pruned
    from sapool.records import write_text_atomically

    network, planned = _network(model, num_classes, input_size, plan, (pool, strides), weights)
    pruned = prune_channels(
        network,
        input_size,
        ratio=ratio,
        ram_bytes=None if ram is None else parse_size(ram),
        macs=None if macs is None else parse_count(macs),
        importance=importance,
        round_to=round_to,
        global_pruning=global_pruning,
        exclude=names_in(exclude),
        data=_batches(data, input_size) if importance == "taylor" else None,
        passes=passes,
        reporter=Terminal(),
    )
    save_pruned(pruned, network, out)
    if planned is not None:
        write_text_atomically(out / _PLAN, planned.to_json())
    if as_json:
        sys.stdout.write(json.dumps(asdict(pruned.record), indent=2) + "\n")
    else:
        _show(pruned.record, model)
        messages.print(f"written to {out}; fine-tune it before it is used", markup=False)


def parse_count(text: str) -> int:
    """Return the number that ``300000``, ``300k``, ``10M`` or ``1.5G`` stands for.

    Raises:
        ValueError: anything else.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kMG]?)\s*", text)
    if not found or (count := int(float(found[1]) * _FACTORS[found[2]])) < 1:
        raise ValueError(f"not a count: {text!r}; write 300000, 300k, 10M or 1.5G")
    return count


def _network(
    model: str,
    num_classes: int,
    input_size: int,
    plan: Path | None,
    choice: tuple[str | None, str | None],
    weights: Path | None,
) -> tuple[nn.Module, PoolingPlan | None]:
    """Load a network with its plan and weights; returns it and the plan."""
    from sapool.models import load_model
    from sapool.search import replan
    from sapool.training import load_weights

    if plan is not None and any(choice):
        raise ValueError("--plan excludes --pool and --strides: the plan has them")
    if weights is not None and weights.is_dir():
        if plan is None and not any(choice) and (weights / _PLAN).is_file():
            plan = weights / _PLAN
        weights = weights / _WEIGHTS
    network = load_model(model, num_classes)
    planned = _plan(network, input_size, plan, choice)
    if planned is not None:
        network = replan(network, planned)
    if weights is None:
        messages.print("no --weights: the network is untrained, its channels' importances are chance", markup=False)
    else:
        load_weights(network, weights)
    return network.eval(), planned


def _plan(
    network: nn.Module, input_size: int, plan: Path | None, choice: tuple[str | None, str | None]
) -> PoolingPlan | None:
    from sapool.plan import make_plan
    from sapool.plan_table import parse_strides
    from sapool.records import PoolingPlan

    if any(choice):
        return make_plan(network, input_size, choice[0] or "self_attentive", parse_strides(choice[1]))
    if plan is None:
        return None
    planned = PoolingPlan.from_json(read_text(plan))
    if planned.input_size != (3, input_size, input_size):
        raise ValueError(f"{plan} is for an input of {planned.input_size} (C, H, W), --input-size is {input_size}")
    return planned


def _batches(data: str, input_size: int) -> list[tuple[Tensor, Tensor]]:
    import torch

    from sapool.training import load_data

    images: Any = load_data(data, input_size).train
    count = min(_BATCH * _BATCHES, len(images))
    items = [images[i] for i in range(count)]
    pairs = (items[start : start + _BATCH] for start in range(0, count, _BATCH))
    return [(torch.stack([x for x, _ in part]), torch.tensor([int(y) for _, y in part])) for part in pairs]


def _show(record: PruneRecord, model: str) -> None:
    table = Table(title=f"{model}: {record.target} {record.value:,} by {record.importance}")
    for name in ("", "before", "after", "of before"):
        table.add_column(name, justify="left" if not name else "right")
    rows = {
        "parameters": "parameters",
        "macs": "multiply-accumulates",
        "head_bytes": "head (predicted bytes)",
        "tail_bytes": "tail",
        "total_bytes": "total",
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
