"""Plans under a budget: every one of a space predicted, or the best that a guided search finds, ranked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sapool.base.arena import ArenaSize, as_plain
from sapool.base.budget import Budget, Needs
from sapool.base.extras import require
from sapool.base.records import PoolingPlan, Reporter, SilentReporter
from sapool.base.sizes import check_count
from sapool.base.suggest import suggest
from sapool.base.tflm_limits import MOST_KEYS
from sapool.layers import check_pool_name
from sapool.memory import (
    arena_size,
    flash_bytes_of,
)
from sapool.networks.recorded import read_model
from sapool.networks.traced import InputSize, Network, as_input_size
from sapool.networks.tracer import ShapeDecisionError
from sapool.passes import FILE_PASSES, apply_file_passes
from sapool.planning.placement import PLACEMENTS
from sapool.planning.plan import Stride, supported_sites
from sapool.predict.lowering.builder import as_file
from sapool.predict.search.predictor import Predictor
from sapool.predict.search.space import AXES, Choice, Space, stride_choices
from sapool.tflite import Graph, macs_of

# A plan that needs more than so many budgets as converted is not looked at again: tiles save no more.
_MOST_OVER = 3
# So many plans are predicted one by one in some ten seconds; in a larger space as many are chosen by optuna.
MOST_PREDICTED = 1000


@dataclass(frozen=True, kw_only=True)
class PlanCandidate(ArenaSize):
    """One plan and what it is predicted to need; bytes on the 64-bit build, as :class:`sapool.ArenaRecord` has them.

    ``arena_bytes`` is held against the RAM budget.

    Attributes:
        plan: the plan.
        pool: its pooling.
        placement: where its pools stand.
        head_bytes: activations and scratch.
        tail_bytes: persistent data.
        setup_bytes: at most what the runtime needs of the head's room while it plans.
        flash_bytes: size of the file, estimated.
        macs: multiply-accumulates of one inference, the pools' too.
        network_macs: those of the network's own layers: the proxy by which plans are ranked.
        fits: whether it keeps the budgets.
    """

    plan: PoolingPlan
    pool: str
    placement: str
    flash_bytes: int
    macs: int
    network_macs: int
    fits: bool

    @property
    def needs(self) -> Needs:
        """What is held against a budget."""
        return Needs(ram_bytes=self.arena_bytes, flash_bytes=self.flash_bytes, macs=self.macs)


@dataclass(frozen=True)
class PlanSearch:
    """What a search found.

    Plans are ranked by a proxy for accuracy: among those that fit, the multiply-accumulates that the network's own
    layers keep (MCUNet, Lin et al., NeurIPS 2020, ranks whole design spaces so: more computation in the same memory is
    the better network). It says nothing about one pooling against another: ties go to the pooling named first. Train
    the best of each.

    Attributes:
        budget: for the arena, the file and multiply-accumulates.
        space: how many plans there were to choose from.
        predicted: how many were predicted; the others were impossible, or not looked at.
        candidates: all that were predicted: what fits first, by rank; then what does not, by how much it is over.
        front: those that no other plan beats in both RAM and network MACs, by rising RAM.
    """

    budget: Budget
    space: int
    predicted: int
    candidates: tuple[PlanCandidate, ...]
    front: tuple[PlanCandidate, ...]

    @property
    def ram_bytes(self) -> int | None:
        """The budget for the arena."""
        return self.budget.ram_bytes

    @property
    def flash_bytes(self) -> int | None:
        """The budget for the file."""
        return self.budget.flash_bytes

    @property
    def macs(self) -> int | None:
        """The budget for multiply-accumulates."""
        return self.budget.macs

    @property
    def best(self) -> PlanCandidate | None:
        """The first that fits, or None."""
        return self.candidates[0] if self.candidates[0].fits else None

    def best_of(self, pool: str) -> PlanCandidate | None:
        """The first of one pooling that fits, or None."""
        return next((c for c in self.candidates if c.fits and c.pool == pool), None)

    def to_json(self) -> str:
        """Return the search as JSON text, the budget's figures beside its own."""
        held = as_plain(self)
        return json.dumps({**held.pop("budget"), **held}, indent=2)


def search_plans(
    model: Network,
    input_size: InputSize,
    *,
    budget: Budget | None = None,
    ram_bytes: int | None = None,
    flash_bytes: int | None = None,
    macs: int | None = None,
    pools: Sequence[str] = ("self_attentive", "avg", "strided"),
    placements: Sequence[str] = ("block",),
    input_sizes: Sequence[InputSize] = (),
    num_heads: Sequence[int] = (1, 2),
    patch_factors: Sequence[int] = (1, 2),
    max_keys: Sequence[int] = (MOST_KEYS,),
    strides: Sequence[Sequence[Stride]] = (),
    pool_sites: Sequence[str] | None = None,
    pool_kwargs: Mapping[str, Mapping[str, Any]] | None = None,
    trials: int = MOST_PREDICTED,
    second_looks: int = 0,
    seed: int = 0,
    reporter: Reporter | None = None,
) -> PlanSearch:
    """Search over strides, pooling and its keywords, placement and input size for plans under a budget.

    The network's whole reduction is kept, unless ``strides`` are given: they move between sites. Memory is predicted,
    not measured, in milliseconds a plan. A space of at most ``trials`` plans is gone through; of a larger one optuna
    (NSGA-II on RAM and the proxy) chooses that many.

    Args:
        model: a network that torch.fx can trace, or its trace.
        input_size: an int (square, 3 channels) or (C, H, W).
        budget: what a plan may need; None: what the next three say.
        ram_bytes: budget for the arena (``arena_bytes``).
        flash_bytes: budget for the ``.tflite`` file.
        macs: budget for multiply-accumulates of one inference.
        pools: poolings to try, in the order of preference.
        placements: where pools may stand.
        input_sizes: further input sizes to try.
        num_heads: heads to try (self-attentive pooling).
        patch_factors: patches to try, as multiples of what :func:`sapool.make_plan` takes (self-attentive pooling).
        max_keys: most keys to try (self-attentive pooling).
        strides: the only strides to try, one entry a site each, as :func:`sapool.make_plan` takes them.
        pool_sites: the only sites that may hold pools, by name; the others' convolutions do the whole reduction.
        pool_kwargs: keywords that a pooling always has, by its name; what they fix is not searched.
        trials: how many plans to predict at most.
        second_looks: of each pooling, so many plans that are over the RAM budget as the converter writes them are
            predicted again with all that the export does to the file (tiles, order, offline plan): those that keep most
            of the network first. A second or more each.
        seed: of the guided search.
        reporter: is told the progress.

    Returns:
        All that was predicted, ranked, and the Pareto front of RAM against MACs.

    Raises:
        ValueError: unknown pooling, placement or site, a budget under 1, no site to plan, or no possible plan.
    """
    budget = Budget.given(budget, ram_bytes=ram_bytes, flash_bytes=flash_bytes, macs=macs)
    _check(budget, trials, pools, placements)
    traced = read_model(model, input_size)
    sites = supported_sites(traced, input_size)
    _check_sites(pool_sites, [site.name for site in sites])
    fixed = {name: dict(kwargs) for name, kwargs in (pool_kwargs or {}).items()}
    attention = fixed.get("self_attentive", {})
    sizes = dict.fromkeys(as_input_size(size) for size in (input_size, *input_sizes))
    space = Space(
        tuple(sizes),
        tuple(dict.fromkeys(pools)),
        tuple(map(tuple, strides)) or tuple(stride_choices([site.reduction for site in sites])),
        tuple(placements),
        (attention["num_heads"],) if "num_heads" in attention else tuple(num_heads),
        (1,) if "patch_size" in attention else tuple(patch_factors),
        (attention["max_keys"],) if "max_keys" in attention else tuple(max_keys),
    )
    search = _Search(traced, budget, reporter or SilentReporter(), pool_sites, fixed)
    if len(space) <= trials:
        search.go_through(space)
    else:
        search.choose(space, trials, seed)
    if second_looks:
        search.look_again(space.pools, second_looks)
    return search.result(space)


def _check(budget: Budget, trials: int, pools: Sequence[str], placements: Sequence[str]) -> None:
    if budget.instructions is not None or budget.latency_ms is not None:
        raise ValueError("a plan's instructions and latency are not predicted: leave them out of the budget")
    check_count("trials", trials)
    if not pools or not placements:
        raise ValueError("pools and placements must name at least one each")
    for pool in pools:
        check_pool_name(pool)
    for placement in placements:
        if placement not in PLACEMENTS:
            raise ValueError(f"unknown placement {placement!r}: choose from {', '.join(PLACEMENTS)}")


def _check_sites(pool_sites: Sequence[str] | None, known: Sequence[str]) -> None:
    for name in pool_sites or ():
        if name not in known:
            raise ValueError(f"the network has no site {name!r}: {suggest(name, known)}")


class _Search:
    """Predicts plans, each once, and keeps what it found."""

    def __init__(
        self,
        model: Network,
        budget: Budget,
        reporter: Reporter,
        pool_sites: Sequence[str] | None,
        pool_kwargs: Mapping[str, dict[str, Any]],
    ) -> None:
        self.model, self.budget, self.reporter = model, budget, reporter
        self.pool_sites, self.pool_kwargs = pool_sites, pool_kwargs
        self._predictors: dict[tuple[int, int, int], Predictor] = {}
        self.found: dict[Choice, PlanCandidate | None] = {}
        self.refused = ""

    def go_through(self, space: Space) -> None:
        """Predict every plan."""
        self._report(space, len(space), ((choice, self.predict(choice)) for choice in space))

    def choose(self, space: Space, trials: int, seed: int) -> None:
        """Let optuna choose which plans to predict."""
        optuna = require("optuna", "search", "searching a space this large")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.NSGAIISampler(seed=seed)
        study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)

        def one(_: int) -> tuple[Choice, PlanCandidate | None]:
            trial = study.ask()
            choice = _suggested(trial, space)
            made = self.predict(choice)
            if made is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, (max(made.arena_bytes, self.budget.ram_bytes or 0), made.network_macs))
            return choice, made

        self._report(space, trials, map(one, range(trials)))

    def _report(self, space: Space, count: int, work: Iterable[tuple[Choice, PlanCandidate | None]]) -> None:
        self.reporter.start(f"{count:,} of {len(space):,} plans", count)
        try:
            for choice, made in work:
                said = "impossible" if made is None else f"{made.arena_bytes:,} bytes"
                self.reporter.advance(f"{choice.pool} {','.join(map(str, choice.strides))}: {said}")
        finally:
            self.reporter.finish()

    def look_again(self, pools: Sequence[str], most: int) -> None:
        """Predict as they are exported the plans that only the RAM budget rules out, the largest networks first."""
        chosen: list[tuple[Choice, PlanCandidate]] = []
        for pool in pools:
            over = [(choice, c) for choice, c in self.found.items() if c and choice.pool == pool and self._may_fit(c)]
            chosen += sorted(over, key=lambda pair: (-pair[1].network_macs, pair[1].arena_bytes))[:most]
        self.reporter.start(f"{len(chosen):,} plans as they are exported", len(chosen))
        try:
            for choice, candidate in chosen:
                made = self._candidate(choice, candidate.plan, self._exported(choice, candidate.plan))
                # The proxy counts the network, not what tiles compute twice.
                self.found[choice] = replace(made, network_macs=candidate.network_macs)
                self.reporter.advance(f"{choice.pool} {','.join(map(str, choice.strides))}: {made.arena_bytes:,} bytes")
        finally:
            self.reporter.finish()

    def _may_fit(self, c: PlanCandidate) -> bool:
        ram = self.budget.ram_bytes
        tiled = ram is not None and c.tail_bytes < ram < c.arena_bytes <= _MOST_OVER * ram
        return tiled and replace(self.budget, ram_bytes=None).fits(c)

    def _exported(self, choice: Choice, plan: PoolingPlan) -> Graph:
        file = as_file(self._predictors[choice.size].graph(plan))
        apply_file_passes(file, tuple(FILE_PASSES))
        return file

    def predict(self, choice: Choice) -> PlanCandidate | None:
        """Return a choice's plan and what it needs, or None where it is impossible."""
        if choice not in self.found:
            try:
                self.found[choice] = self._predict(choice)
            except (ValueError, ShapeDecisionError) as error:
                self.found[choice], self.refused = None, str(error)
        return self.found[choice]

    def _predict(self, choice: Choice) -> PlanCandidate:
        if choice.size not in self._predictors:
            self._predictors[choice.size] = Predictor(self.model, choice.size)
        predictor = self._predictors[choice.size]
        kwargs = choice.keywords() | self.pool_kwargs.get(choice.pool, {})
        plan = predictor.plan(choice.pool, self._spread(choice, predictor), choice.placement, kwargs)
        if choice.patch_factor not in (None, 1):
            plan = _with_larger_patches(plan, choice.patch_factor or 1)
        return self._candidate(choice, plan, predictor.graph(plan))

    def _spread(self, choice: Choice, predictor: Predictor) -> list[Stride]:
        """Return a choice's strides, whole on the convolution where no pool may stand."""
        sites = predictor.sites
        if self.pool_sites is None or len(choice.strides) != len(sites):
            return list(choice.strides)  # a wrong number is refused, with its reason, where plans are made
        return [
            stride if isinstance(stride, tuple) or site.name in self.pool_sites else (stride, 1)
            for site, stride in zip(sites, choice.strides, strict=True)
        ]

    def _candidate(self, choice: Choice, plan: PoolingPlan, graph: Graph) -> PlanCandidate:
        size, flash = arena_size(graph), flash_bytes_of(graph)
        counted = [(operator.module, macs_of(graph, operator)) for operator in graph.operators]
        macs = sum(count for _, count in counted)
        return PlanCandidate(
            **asdict(size),
            plan=plan,
            pool=choice.pool,
            placement=choice.placement,
            flash_bytes=flash,
            macs=macs,
            network_macs=sum(count for module, count in counted if not module.startswith("pools.")),
            fits=self.budget.fits(Needs(size.arena_bytes, flash, macs)),
        )

    def result(self, space: Space) -> PlanSearch:
        """Rank what was found.

        Raises:
            ValueError: nothing was possible.
        """
        made = [candidate for candidate in self.found.values() if candidate is not None]
        if not made:
            raise ValueError(f"no plan is possible: {self.refused}")
        ranked = sorted(made, key=self._rank(space.pools))
        return PlanSearch(self.budget, len(space), len(made), tuple(ranked), pareto_front(ranked))

    def _rank(self, pools: Sequence[str]) -> Callable[[PlanCandidate], Any]:
        def key(c: PlanCandidate) -> Any:
            over = 0.0 if c.fits else self.budget.largest_share(c)
            return (not c.fits, over, -c.network_macs, pools.index(c.pool), c.arena_bytes)

        return key


def _suggested(trial: Any, space: Space) -> Choice:
    """Let a trial choose on every axis; optuna is given places in a list, as it takes no tuples."""
    pool = trial.suggest_categorical("pool", space.pools)
    values = []
    for axis, options in zip(AXES, space.options(pool), strict=True):
        # The same axis must always have the same options; what a pooling has no use for is not asked.
        several = axis != "pool" and len(options) > 1
        values.append(options[trial.suggest_int(axis, 0, len(options) - 1) if several else 0])
    return Choice(**dict(zip(AXES, values, strict=True)))


def _with_larger_patches(plan: PoolingPlan, factor: int) -> PoolingPlan:
    sites = tuple(
        replace(site, kwargs=site.kwargs | {"patch_size": site.kwargs["patch_size"] * factor})
        if "patch_size" in site.kwargs
        else site
        for site in plan.sites
    )
    return replace(plan, sites=sites)


def pareto_front(candidates: Sequence[PlanCandidate]) -> tuple[PlanCandidate, ...]:
    """Return those that no other beats in RAM and network MACs both, by rising RAM; of equals the first."""
    front: list[PlanCandidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.arena_bytes, -c.network_macs)):
        if not front or candidate.network_macs > front[-1].network_macs:
            front.append(candidate)
    return tuple(front)
