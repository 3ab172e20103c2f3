"""``sapool plan``: the direct way, and with a budget a search."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sapool.base.sizes import parse_size
from sapool.cli.console import (
    DONE,
    NOTHING_FITS,
    AsJson,
    BoardName,
    Flash,
    InputSize,
    Ram,
    Terminal,
    budgets,
    check_free,
    messages,
    names_in,
    print_table,
)

if TYPE_CHECKING:
    from torch import nn

    from sapool.base.records import PoolingPlan

_NO_LIMIT = "1000000MB"


def plan(
    model: Annotated[str, typer.Argument(help="Network: sapool:tiny, timm:NAME, torchvision:NAME or authors:NAME.")],
    input_size: InputSize = 64,
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
    macs: Annotated[int | None, typer.Option(help="Budget for multiply-accumulates of one inference.")] = None,
    sizes: Annotated[str, typer.Option(help="With a budget: further input sizes to try, comma-separated.")] = "",
    out: Annotated[Path | None, typer.Option(help="Write the (best) plan there, for sapool export --plan.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show where a network shrinks its maps, and what a plan puts there; with a budget, search for the plans that fit.

    A search (--ram or --board) predicts the memory of every way to spread the strides, for every pooling, without
    exporting; it ranks what fits by the multiply-accumulates that the network's own layers keep, which says nothing
    about one pooling against another: train the best of each. Exit code 3: nothing fits.

    Example: sapool plan timm:mobilenetv2_035 --input-size 96 --strides 4,2,2,2,1 --out plan.json

    Example: sapool plan timm:mobilenetv2_035 --input-size 96 --ram 160KiB
    """
    check_free(out, force)
    from sapool.cli.plan_table import parse_strides
    from sapool.networks.load import load_model
    from sapool.planning.plan import make_plan
    from sapool.planning.surgery import apply_plan

    network = load_model(model, 10)
    if ram is not None or board is not None:
        if strides is not None:
            raise ValueError("--strides and a budget exclude each other: with --ram or --board they are searched for")
        limits = budgets(ram, flash, board, default_ram="", default_flash=_NO_LIMIT)
        further = [int(size) for size in names_in(sizes)]
        pools = names_in(pool or "self_attentive,avg,strided")
        _search(network, model, [input_size, *further], limits, macs, pools, names_in(placement), out, as_json)
        return
    planned = make_plan(network, input_size, pool or "self_attentive", parse_strides(strides), placement)
    if any(site.pool_stride > 1 for site in planned.sites):
        apply_plan(network, planned, dry_run=True)
    _write(planned, out)
    if as_json:
        sys.stdout.write(planned.to_json() + "\n")
    else:
        _show(network, model, planned)


def _write(planned: PoolingPlan, out: Path | None) -> None:
    from sapool.base.records import write_bytes_atomically

    if out is not None:
        write_bytes_atomically(out, planned.to_json().encode())


def _show(network: nn.Module, model: str, planned: PoolingPlan) -> None:
    from sapool.base.records import DownsamplingSite
    from sapool.cli.plan_table import plan_table
    from sapool.planning.sites import find_downsampling

    found = find_downsampling(network, planned.input_size)
    print_table(plan_table(planned, [site for site in found if isinstance(site, DownsamplingSite)], model))
    for site in found:
        if not isinstance(site, DownsamplingSite):
            messages.print(f"left alone: {site.name}: {site.reason}", markup=False)


def _search(
    network: nn.Module,
    model: str,
    sizes: list[int],
    limits: tuple[int, int],
    macs: int | None,
    pools: tuple[str, ...],
    placements: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    from sapool.cli.plan_table import search_table
    from sapool.predict.search import search_plans

    ram_bytes, flash_bytes = limits
    found = search_plans(
        network,
        sizes[0],
        ram_bytes=ram_bytes,
        flash_bytes=flash_bytes,
        macs=macs,
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
            limit = "" if flash_bytes == parse_size(_NO_LIMIT) else f" and {flash_bytes:,} of flash"
            sys.stdout.write(f"nothing fits {ram_bytes:,} bytes of RAM{limit}; the table shows what comes closest\n")
        else:
            _show(network, model, best.plan)
    raise typer.Exit(DONE if best is not None else NOTHING_FITS)
