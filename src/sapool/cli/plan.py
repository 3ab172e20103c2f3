"""``sapool plan``: the direct way, and with a budget a search."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sapool.base.image_size import InputSize as ImageSize
from sapool.base.image_size import as_input_size
from sapool.base.sizes import parse_count
from sapool.cli.console import (
    DONE,
    NOTHING_FITS,
    AsJson,
    BoardName,
    Flash,
    InputSize,
    NetworkName,
    Ram,
    Terminal,
    budget_from,
    check_free,
    messages,
    names_in,
    print_table,
)

if TYPE_CHECKING:
    from torch import nn

    from sapool.base.budget import Budget
    from sapool.base.records import PoolingPlan
    from sapool.networks.traced import Network


def plan(
    model: NetworkName,
    input_size: InputSize = "64",
    pool: Annotated[
        str | None, typer.Option(help="The pooling (an unknown one lists them all); several with a budget.")
    ] = None,
    strides: Annotated[str | None, typer.Option(help="One a site, comma-separated: 4,2,2,2,1. Default: as is.")] = None,
    placement: Annotated[
        str, typer.Option(help="block, stage, group-start or in-place; several with a budget.")
    ] = "block",
    ram: Ram = None,
    flash: Flash = None,
    board: BoardName = None,
    macs: Annotated[
        str | None, typer.Option(help="Budget for multiply-accumulates of one inference: 20M, 300k.")
    ] = None,
    sizes: Annotated[str, typer.Option(help="With a budget: further input sizes to try, comma-separated.")] = "",
    out: Annotated[Path | None, typer.Option(help="Write the (best) plan there, for sapool export --plan.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show where a network shrinks its maps, and what a plan puts there; with a budget, search for the plans that fit.

    A search (--ram, --flash, --macs or --board) predicts the memory of every way to spread the strides, for every
    pooling, without exporting; it ranks what fits by the multiply-accumulates that the network's own layers keep, which
    says nothing about one pooling against another: train the best of each. Exit code 3: nothing fits.

    Example: sapool plan timm:mobilenetv2_035 --input-size 96 --strides 4,2,2,2,1 --out plan.json

    Example: sapool plan timm:mobilenetv2_035 --input-size 96 --ram 160KiB
    """
    check_free(out, force)
    from sapool.cli.plan_table import parse_strides
    from sapool.networks.load import input_size_for, load_model
    from sapool.networks.recorded import read_model
    from sapool.planning.plan import make_plan
    from sapool.planning.surgery import apply_plan

    size = input_size_for(model, input_size)
    network = load_model(model, 10, in_channels=as_input_size(size)[0])
    if any(option is not None for option in (ram, flash, macs, board)):
        if strides is not None:
            raise ValueError("--strides and a budget exclude each other: with a budget they are searched for")
        limits = replace(budget_from(ram, flash, board), macs=None if macs is None else parse_count(macs))
        further = [input_size_for(model, text, "--sizes") for text in names_in(sizes)]
        pools = names_in(pool or "self_attentive,avg,strided")
        _search(network, model, [size, *further], limits, pools, names_in(placement), out, as_json)
        return
    traced = read_model(network, size)
    planned = make_plan(traced, size, pool or "self_attentive", parse_strides(strides), placement)
    if any(site.pool_stride > 1 for site in planned.sites):
        apply_plan(traced, planned, dry_run=True)
    _write(planned, out)
    if as_json:
        sys.stdout.write(planned.to_json() + "\n")
    else:
        _show(traced, model, planned)


def _write(planned: PoolingPlan, out: Path | None) -> None:
    from sapool.base.files import write_bytes_atomically

    if out is not None:
        write_bytes_atomically(out, planned.to_json().encode())


def _show(network: Network, model: str, planned: PoolingPlan) -> None:
    from sapool.base.records import DownsamplingSite
    from sapool.cli.plan_table import plan_table
    from sapool.planning.sites import find_downsampling

    found = find_downsampling(network, planned.input_size)
    print_table(plan_table(planned, [site for site in found if isinstance(site, DownsamplingSite)], model))
    for site in found:
        if not isinstance(site, DownsamplingSite):
            messages.print(f"left alone: {site.name}: {site.reason}")


def _search(
    network: nn.Module,
    model: str,
    sizes: list[ImageSize],
    budget: Budget,
    pools: tuple[str, ...],
    placements: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    from sapool.cli.plan_table import search_table
    from sapool.predict.search import search_plans

    found = search_plans(
        network,
        sizes[0],
        budget=budget,
        pools=pools,
        placements=placements,
        input_sizes=sizes[1:],
        reporter=Terminal(),
    )
    best = found.best
    if best is not None:
        _write(best.plan, out)
    if as_json:
        sys.stdout.write(found.to_json() + "\n")
    else:
        print_table(search_table(found, model))
        if best is None:
            macs = "" if budget.macs is None else f", {budget.macs:,} MACs"
            sys.stdout.write(f"nothing fits {budget.in_bytes()}{macs}; the table shows what comes closest\n")
        else:
            _show(network, model, best.plan)
    raise typer.Exit(DONE if best is not None else NOTHING_FITS)
