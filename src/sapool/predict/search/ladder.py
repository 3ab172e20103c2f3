"""Choosing a plan under a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from sapool.base.budget import Budget
from sapool.base.records import ArenaRecord, PoolingPlan
from sapool.networks.recorded import read_model
from sapool.networks.traced import InputSize, Network
from sapool.planning.plan import make_plan, supported_sites
from sapool.planning.surgery import apply_plan

_STRIDE_LIMITS = (4, 8)


@dataclass(frozen=True)
class Candidate:
    """One rung of the ladder: a plan and the arena it was measured to need."""

    plan: PoolingPlan
    arena: ArenaRecord
    fits: bool


def stride_ladder(reductions: Sequence[int]) -> list[tuple[int, ...]]:
    """List strides from the network's own to ever earlier down-sampling, the total reduction kept.

    Each rung moves a factor of two from the last site that has one to the first that can take it: up to 4 a site, then
    up to 8. The final map keeps its size, but for the rounding of odd maps.

    >>> stride_ladder((2, 2, 2, 2))
    [(2, 2, 2, 2), (4, 2, 2, 1), (4, 4, 1, 1), (8, 2, 1, 1)]
    """
    rungs = [tuple(reductions)]
    while (following := _shift(rungs[-1])) is not None:
        rungs.append(following)
    return rungs


def _shift(strides: tuple[int, ...]) -> tuple[int, ...] | None:
    donors = [i for i, stride in enumerate(strides) if stride % 2 == 0]
    for limit in _STRIDE_LIMITS:
        takers = [i for i, stride in enumerate(strides) if donors and i < donors[-1] and stride * 2 <= limit]
        if takers:
            moved = list(strides)
            moved[donors[-1]] //= 2
            moved[takers[0]] *= 2
            return tuple(moved)
    return None


def replan(model: Network, plan: PoolingPlan) -> nn.Module:
    """Return a copy of a network with ``plan`` in it, or the network itself if that keeps everything as it is."""
    traced = read_model(model, plan.input_size)
    changes = any(entry.pool_stride > 1 for entry in plan.sites)
    own = tuple(site.reduction for site in supported_sites(traced, plan.input_size))
    return apply_plan(traced, plan).model if changes or plan.strides != own else traced.model


def first_fitting_plan(
    model: Network,
    input_size: InputSize,
    pool: str,
    *,
    budget: Budget,
    measure: Callable[[nn.Module, PoolingPlan], ArenaRecord],
) -> list[Candidate]:
    """Measure the ladder's rungs in order and stop at the first that fits.

    Args:
        model: the network, or its trace.
        input_size: an int (square, 3 channels) or (C, H, W).
        pool: which pooling to plan.
        budget: for the arena and the file.
        measure: exports a re-planned network and measures its arena.

    Returns:
        The measured candidates; only the last can fit.

    Raises:
        ValueError: the network has no site to plan, or no rung leaves a map.
    """
    traced = read_model(model, input_size)
    sites = supported_sites(traced, input_size)
    tried: list[Candidate] = []
    refused: ValueError | None = None
    for strides in stride_ladder([site.reduction for site in sites]):
        try:
            plan = make_plan(traced, input_size, pool, strides)
        except ValueError as error:  # a pool rounds an odd map down where the convolution rounded up
            refused = error
            continue
        arena = measure(replan(traced, plan), plan)
        tried.append(Candidate(plan, arena, budget.fits(arena)))
        if tried[-1].fits:
            break
    if not tried and refused is not None:
        raise refused
    return tried


def closest(candidates: Sequence[Candidate], budget: Budget) -> Candidate:
    """Return the fitting candidate, or the one that is over its budgets by the least share."""
    return min(candidates, key=lambda c: (not c.fits, budget.largest_share(c.arena)))
