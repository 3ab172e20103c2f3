"""The plan of every pooling: searched by predicted memory, then measured by a real export, before any training."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from sapool.base.budget import Budget, Needs
from sapool.base.records import ArenaRecord, PoolingPlan, Reporter
from sapool.export import ExportError, InterpreterError
from sapool.layers import POOLS
from sapool.networks.traced import Network
from sapool.planning.plan import Stride
from sapool.predict.search import PlanCandidate, PlanSearch, replan, search_plans
from sapool.report.tables import join_strides
from sapool.workflows.compare.config import CompareConfig, Variant
from sapool.workflows.running import sizes_of

# So many candidates are exported at most before a pooling, or a common plan, is given up.
MOST_MEASURED = 8
# Of the plans that only tiles can make fit, so many are looked at: a second or so each.
SECOND_LOOKS = 12
# Resolutions that are remembered of every pooling, to find one that all can have.
_MOST_OPTIONS = 200

Measure = Callable[[nn.Module, PoolingPlan], ArenaRecord]


@dataclass(frozen=True)
class Measured:
    """A plan and the arena that its network needs, on random weights."""

    plan: PoolingPlan
    arena: ArenaRecord

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Measured:
        """Build one from what JSON made of it."""
        return cls(PoolingPlan.from_json(json.dumps(data["plan"])), ArenaRecord.from_dict(dict(data["arena"])))


@dataclass(frozen=True)
class Planned:
    """What was found for one pooling.

    Attributes:
        variant: the pooling.
        candidates: plans that were measured to fit, the best first, no two of the same strides and size.
        options: resolutions that are predicted to fit: (side, strides, MACs of the network's own layers), most first.
        tried: every plan that was measured: strides, side and the least arena in bytes, or why it can't be exported.
        reason: why there is no candidate, or "".
    """

    variant: Variant
    candidates: tuple[Measured, ...]
    options: tuple[tuple[int, tuple[Stride, ...], int], ...]
    tried: tuple[dict[str, Any], ...]
    reason: str

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Planned:
        """Build one from what JSON made of it."""
        options = tuple((size, as_strides(strides), macs) for size, strides, macs in data["options"])
        candidates = tuple(Measured.from_dict(entry) for entry in data["candidates"])
        return cls(variant_from_dict(data["variant"]), candidates, options, tuple(data["tried"]), data["reason"])


def variant_from_dict(data: Mapping[str, Any]) -> Variant:
    """Return a variant as JSON holds it: a pair among its keywords comes back as a list."""
    kwargs = {name: tuple(value) if isinstance(value, list) else value for name, value in data["kwargs"].items()}
    return Variant(data["label"], data["pool"], kwargs)


def as_strides(held: Iterable[Any]) -> tuple[Stride, ...]:
    """Return strides as JSON holds them: a pair comes back as a list."""
    return tuple((int(s[0]), int(s[1])) if isinstance(s, list | tuple) else int(s) for s in held)


def plan_variant(
    model: Network, variant: Variant, config: CompareConfig, measure: Measure, reporter: Reporter
) -> Planned:
    """Find the plans of one pooling that fit the budgets, measured.

    Args:
        model: the network; left as it is.
        variant: the pooling.
        config: budgets, sizes, sites.
        measure: exports a network with a plan in it and measures its arena.
        reporter: is told what is measured.
    """
    try:
        found = _search(model, variant, config)
    except ValueError as error:
        return Planned(variant, (), (), (), str(error))
    ranked = sorted((c for c in found.candidates if c.fits), key=preference)
    candidates, tried = _measure_some(model, ranked, config, measure, reporter, variant.label)
    reason = "" if candidates else _why_not(found, tried, config.budget)
    return Planned(variant, candidates, _options(ranked, config), tried, reason)


def _search(
    model: Network,
    variant: Variant,
    config: CompareConfig,
    sizes: Sequence[int] = (),
    strides: Sequence[Sequence[Stride]] = (),
) -> PlanSearch:
    fixed = (config.strides,) if config.strides is not None else config.stride_choices or ()
    first, *further = sizes or (config.input_size, *config.input_sizes)
    return search_plans(
        model,
        first,
        input_sizes=further,
        budget=config.budget,
        pools=(variant.pool,),
        placements=(config.placement,),
        strides=strides or fixed,
        pool_sites=config.sites,
        pool_kwargs={variant.pool: variant.kwargs},
        second_looks=SECOND_LOOKS,
    )


def preference(candidate: PlanCandidate) -> tuple[Any, ...]:
    """Rank plans that fit: the most computation first, of the network, then of the pool; heads as the layer has them.

    A plan that saves memory it need not save only weakens the attention.
    """
    own = inspect.signature(POOLS["self_attentive"]).parameters["num_heads"].default
    heads = [site.kwargs["num_heads"] for site in candidate.plan.sites if "num_heads" in site.kwargs]
    fewer = any(count != own for count in heads)
    return (-candidate.network_macs, -candidate.macs, fewer, candidate.arena_bytes)


def _measure_some(
    model: Network,
    ranked: Sequence[PlanCandidate],
    config: CompareConfig,
    measure: Measure,
    reporter: Reporter,
    label: str,
    most: int = MOST_MEASURED,
) -> tuple[tuple[Measured, ...], tuple[dict[str, Any], ...]]:
    """Export plans in order until enough of them, no two of the same resolution, are measured to fit."""
    kept: dict[Any, Measured] = {}
    tried: list[dict[str, Any]] = []
    for candidate in ranked:
        plan = candidate.plan
        if len(kept) == config.plan_candidates or len(tried) == most:
            break
        if _resolution(plan) in kept:
            continue
        about: dict[str, Any] = {"strides": list(plan.strides), "side": plan.input_size[1]}
        tried.append(about)
        try:
            arena = measure(replan(model, plan), plan)
        except (ExportError, InterpreterError) as error:
            about["refused"] = str(error)
            reporter.stage(f"{label}: strides {join_strides(plan.strides)}: {error}")
            continue
        about |= sizes_of(arena)
        fits = config.budget.fits(arena)
        verdict = "fits" if fits else "does not fit"
        reporter.stage(f"{label}: strides {join_strides(plan.strides)}: arena {arena.arena_bytes:,} bytes, {verdict}")
        if fits:
            kept[_resolution(plan)] = Measured(plan, arena)
    return tuple(kept.values()), tuple(tried)


def _resolution(plan: PoolingPlan) -> tuple[int, tuple[int, ...]]:
    return plan.input_size[1], plan.strides


def _options(ranked: Sequence[PlanCandidate], config: CompareConfig) -> tuple[tuple[int, tuple[Stride, ...], int], ...]:
    found: dict[Any, int] = {}
    for candidate in ranked:
        size, reductions = _resolution(candidate.plan)
        found.setdefault((size, config.strides or reductions), candidate.network_macs)
    return tuple((size, strides, macs) for (size, strides), macs in list(found.items())[:_MOST_OPTIONS])


def _why_not(found: PlanSearch, tried: Sequence[dict[str, Any]], budget: Budget) -> str:
    """Say by how much the closest plan misses."""
    refused = [about["refused"] for about in tried if "refused" in about]
    measured = [about for about in tried if "arena_bytes" in about]
    needs = [Needs(about["arena_bytes"], about["flash_bytes"]) for about in measured]
    if measured:
        least, strides = min(
            zip(needs, (about["strides"] for about in measured), strict=True),
            key=lambda pair: budget.largest_share(pair[0]),
        )
    elif refused:
        return f"no plan can be exported: {refused[0]}"
    else:
        least, strides = found.candidates[0].needs, list(found.candidates[0].plan.strides)
    how, (first, *others) = "measured" if measured else "predicted", budget.over(least)
    return (
        f"no plan fits {first.limit:,} {first.unit}: the closest (strides {join_strides(strides)}) needs "
        f"{first.used:,} bytes ({how}), {first.used - first.limit:,} over" + "".join(f"; {other}" for other in others)
    )


def plan_equal(
    model: Network, planned: Sequence[Planned], config: CompareConfig, measure: Measure, reporter: Reporter
) -> tuple[dict[str, Measured], str]:
    """Find the largest resolution (strides and input size) that every pooling can have within the budgets.

    Args:
        model: the network; left as it is.
        planned: what was found for every pooling; those without any plan are left out.
        config: budgets, sites.
        measure: exports a network with a plan in it and measures its arena.
        reporter: is told what is measured.

    Returns:
        {label: plan}, and why there is none (or "").
    """
    able = [entry for entry in planned if entry.candidates]
    for size, strides in _common(able)[:MOST_MEASURED]:
        found: dict[str, Measured] = {}
        for entry in able:
            held = _at(model, entry, config, measure, reporter, size, strides)
            if held is None:
                break
            found[entry.variant.label] = held
        else:
            return found, ""
    return {}, "no strides and input size fit the budget for every pooling"


def _common(able: Sequence[Planned]) -> list[tuple[int, tuple[Stride, ...]]]:
    """Return the resolutions that all are predicted to fit at, those with the most computation for all first."""
    by_pool = [{(size, strides): macs for size, strides, macs in entry.options} for entry in able]
    shared = set.intersection(*(set(options) for options in by_pool)) if by_pool else set()
    # Not every pooling leaves the network as much to compute at the same strides: the least counts.
    return sorted(shared, key=lambda key: (-min(options[key] for options in by_pool), str(key)))


def _at(
    model: Network,
    entry: Planned,
    config: CompareConfig,
    measure: Measure,
    reporter: Reporter,
    size: int,
    strides: tuple[Stride, ...],
) -> Measured | None:
    """Return one pooling's plan at one resolution if it is measured to fit, and what is measured already as it is."""
    for candidate in entry.candidates:
        if (candidate.plan.input_size[1], config.strides or candidate.plan.strides) == (size, strides):
            return candidate
    found = _search(model, entry.variant, config, (size,), (strides,))
    ranked = sorted((c for c in found.candidates if c.fits), key=preference)
    candidates, _ = _measure_some(model, ranked, config, measure, reporter, entry.variant.pool, most=3)
    return candidates[0] if candidates else None


def planned_to_dict(planned: Planned) -> dict[str, Any]:
    """Return what :meth:`Planned.from_dict` reads."""
    return asdict(planned)
