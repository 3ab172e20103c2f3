"""A plan on the command line: its strides read, its sites as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from sapool.records import DownsamplingSite, PoolingPlan


def plan_table(planned: PoolingPlan, sites: Sequence[DownsamplingSite], model: str) -> Table:
    """Return one row a site: its maps, its operators, its stride and what the plan makes of it."""
    size = "x".join(str(n) for n in planned.input_size)
    table = Table(title=f"{model} at {size}")
    for name in ("site", "before", "after", "channels", "what is replaced", "stride", "becomes"):
        table.add_column(name)
    for site, entry in zip(sites, planned.sites, strict=True):
        kwargs = "".join(f", {key}={value}" for key, value in entry.kwargs.items())
        becomes = [f"stride {entry.conv_stride}"] if entry.conv_stride > 1 or entry.pool_stride == 1 else []
        becomes += [f"{entry.pool} {entry.pool_stride} ({entry.placement}{kwargs})"] if entry.pool_stride > 1 else []
        maps = ["x".join(map(str, side)) for side in (site.before, site.after)]
        channels = f"{site.in_channels} -> {site.out_channels}"
        table.add_row(site.name, *maps, channels, ", ".join(site.operators), str(site.reduction), " + ".join(becomes))
    return table


def parse_strides(text: str | None) -> list[int] | None:
    """Return the strides that ``4,2,2,1`` stands for, or None for None.

    Raises:
        ValueError: anything else.
    """
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--strides must be whole numbers, comma-separated (4,2,2,2,1), got {text!r}") from None
