"""A plan on the command line: its strides read, its sites as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from sapool.base.quoting import quote
from sapool.base.records import DownsamplingSite, PoolingPlan

if TYPE_CHECKING:
    from sapool.predict.search import PlanCandidate, PlanSearch


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


_LEFT = ("", "pooling", "strides", "placement", "input")
# Plans of the front that are over the budget are shown as far as a little more memory would reach.
_SHOWN_OVER_BUDGET = 3


def _told(candidate: PlanCandidate) -> dict[str, str]:
    return {
        "pooling": candidate.pool,
        "strides": ",".join(map(str, candidate.plan.strides)),
        "placement": candidate.placement,
        "input": "x".join(map(str, candidate.plan.input_size[1:])),
        "head": f"{candidate.head_bytes:,}",
        "arena": f"{candidate.arena_bytes:,}",
        "file": f"{candidate.flash_bytes:,}",
        "MACs": f"{candidate.macs:,}",
        "network's MACs": f"{candidate.network_macs:,}",
        "fits": "yes" if candidate.fits else "no",
    }


def search_table(found: PlanSearch, model: str) -> Table:
    """Return the Pareto front of RAM against the network's MACs, and the best of every pooling."""
    title = f"{model}: {found.predicted:,} of {found.space:,} plans predicted; budget {found.budget.in_bytes()}"
    table = Table(title=title)
    several = {name for name in ("placement", "input") if len({_told(c)[name] for c in found.candidates}) > 1}
    names = [name for name in _told(found.candidates[0]) if name not in ("placement", "input") or name in several]
    for name in ("", *names):
        table.add_column(name, justify="left" if name in _LEFT else "right", no_wrap=True)
    pools = list(dict.fromkeys(candidate.pool for candidate in found.candidates))
    bests = [best for pool in pools if (best := found.best_of(pool)) is not None]
    front = [c for c in found.front if c not in bests]
    over = [c for c in front if not c.fits][_SHOWN_OVER_BUDGET:]
    for candidate in [*bests, *(c for c in front if c not in over)]:
        what = "best" if candidate is found.best else "best of its kind" if candidate in bests else "front"
        told = _told(candidate)
        table.add_row(what, *(told[name] for name in names), style="bold" if candidate is found.best else None)
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
        said = quote(text)
        raise ValueError(f"--strides must be whole numbers, comma-separated (4,2,2,2,1), got {said}") from None
