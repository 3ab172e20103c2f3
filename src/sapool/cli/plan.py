"""``sapool plan``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sapool.cli.console import AsJson, InputSize, messages, print_table


def plan(
    model: Annotated[str, typer.Argument(help="Network: sapool:tiny, timm:NAME, torchvision:NAME or authors:NAME.")],
    input_size: InputSize = 64,
    pool: Annotated[str, typer.Option(help="The pooling; an unknown one lists them all.")] = "self_attentive",
    strides: Annotated[str | None, typer.Option(help="One a site, comma-separated: 4,2,2,2,1. Default: as is.")] = None,
    placement: Annotated[str, typer.Option(help="block, stage, group-start or in-place.")] = "block",
    out: Annotated[Path | None, typer.Option(help="Write the plan there, for sapool export --plan.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show where a network shrinks its maps, and what a plan puts there; what can't be re-planned has its reason.

    Example: sapool plan timm:mobilenetv2_035 --input-size 96 --strides 4,2,2,2,1 --out plan.json
    """
    if out is not None and out.exists() and not force:
        raise ValueError(f"{out} exists; choose another --out or say --force")
    from sapool.downsampling import find_downsampling
    from sapool.models import load_model
    from sapool.plan import make_plan
    from sapool.plan_table import parse_strides, plan_table
    from sapool.records import DownsamplingSite, write_bytes_atomically
    from sapool.surgery import apply_plan

    network = load_model(model, 10)
    planned = make_plan(network, input_size, pool, parse_strides(strides), placement)
    if any(site.pool_stride > 1 for site in planned.sites):
        apply_plan(network, planned, dry_run=True)
    if out is not None:
        write_bytes_atomically(out, planned.to_json().encode())
    if as_json:
        sys.stdout.write(planned.to_json() + "\n")
        return
    found = find_downsampling(network, input_size)
    print_table(plan_table(planned, [site for site in found if isinstance(site, DownsamplingSite)], model))
    for site in found:
        if not isinstance(site, DownsamplingSite):
            messages.print(f"left alone: {site.name}: {site.reason}", markup=False)
