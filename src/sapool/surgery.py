"""Putting a plan into a network: strides change, pools go in, every weight stays."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from sapool.downsampling import find_sites
from sapool.graph import InputSizeError, TracedModel, run_shapes, trace
from sapool.layers import create_pool, has_hooks
from sapool.operators import Operator, read_operator
from sapool.placement import Place, operator_nodes, places_of
from sapool.plan import check_choices, planned_pool
from sapool.records import DownsamplingSite, PoolingPlan, SitePlan


@dataclass(frozen=True)
class Replaced:
    """What changed at one site: strides of its operators before and after, and the pools put in.

    ``pool`` is the first of ``pools`` (None: none); ``in-place`` puts one on every parallel path.
    """

    site: str
    operators: tuple[str, ...]
    old_reduction: int
    conv_stride: int
    pool: nn.Module | None
    pools: tuple[nn.Module, ...] = ()


@dataclass(frozen=True)
class Replacement:
    """A re-planned network.

    Attributes:
        model: the network with the plan in it; its weights keep their names, pools are under ``pools.``.
        replaced: what changed, a site each.
    """

    model: nn.Module
    replaced: tuple[Replaced, ...]
    _undo: Callable[[], nn.Module]
    _original: nn.Module

    def undo(self) -> nn.Module:
        """Return the original network, with its strides back if the plan was applied in place."""
        return self._undo()

    def update_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Let an optimiser that was built for the original network train this one.

        Every parameter it holds gives way to its copy here, with its state; the pools' go into the first group.

        Raises:
            ValueError: it holds none of the original network's parameters.
        """
        new = dict(self.model.named_parameters())
        copies = {p: new[name] for name, p in self._original.named_parameters() if name in new}
        held = {p for group in optimizer.param_groups for p in group["params"]}
        if not held & copies.keys():
            raise ValueError("the optimizer must be one for the original network: it holds none of its parameters")
        for group in optimizer.param_groups:
            group["params"] = [copies.get(p, p) for p in group["params"]]
        for old, copy_ in copies.items():
            if old is not copy_ and old in optimizer.state:
                optimizer.state[copy_] = optimizer.state.pop(old)
        known = {p for group in optimizer.param_groups for p in group["params"]}
        added = [p for site in self.replaced for pool in site.pools for p in pool.parameters() if p not in known]
        optimizer.param_groups[0]["params"].extend(added)


def apply_plan(model: nn.Module, plan: PoolingPlan, inplace: bool = False, *, dry_run: bool = False) -> Replacement:
    """Put ``plan`` into ``model``.

    Args:
        model: the network the plan was made for.
        plan: the plan.
        inplace: share the model's modules instead of copying them; until ``undo()`` the model itself is then changed.
        dry_run: do it all on a copy, and return the model as it is with what would be replaced.

    Returns:
        The new network and what changed. It keeps the model's weights, dtype, device, train/eval mode, frozen weights
        and the hooks of its layers; hooks on modules whose code is traced through are named in a warning.

    Raises:
        ValueError: the plan is for another model, changes nothing, or leaves paths that meet with different sizes.
    """
    target = model if inplace and not dry_run else copy.deepcopy(model)
    traced = trace(target, plan.input_size)
    sites = {site.name: site for site in find_sites(traced) if isinstance(site, DownsamplingSite)}
    _check_belongs(plan, sites, type(model).__name__)
    for entry in plan.sites:
        check_choices(entry.pool, entry.placement, entry.kwargs)
    if all(_changes_nothing(sites[entry.site], entry) for entry in plan.sites):
        raise ValueError("the plan changes nothing: every site keeps its stride and gets no pool")
    graph_module = traced.module
    changes = [_Change(traced, sites[entry.site], entry, target.training) for entry in plan.sites]
    for change in changes:  # all pools first: a pool may stand behind an operator that then goes
        change.insert_pools()
    replaced = tuple(change.set_strides() for change in changes)
    graph_module.graph.lint()
    graph_module.recompile()
    graph_module.training = target.training

    def undo() -> nn.Module:
        for change in changes if inplace else []:
            change.restore_strides()
        return model

    try:  # paths that meet must still have one size
        run_shapes(graph_module, plan.input_size)
    except InputSizeError as error:
        undo()
        raise ValueError(f"the plan does not fit {type(model).__name__}: {error}") from error

    _warn_of_lost_hooks(target, graph_module)
    return Replacement(model if dry_run else graph_module, replaced, undo, model)


def _warn_of_lost_hooks(model: nn.Module, graph_module: fx.GraphModule) -> None:
    called = {str(node.target) for node in graph_module.graph.nodes if node.op == "call_module"}
    lost = [
        name or type(model).__name__
        for name, module in model.named_modules()
        if has_hooks(module) and not any(name == c or name.startswith(c + ".") for c in called)
    ]
    if lost:
        warnings.warn(
            f"hooks on {', '.join(lost)} do not run in the re-planned network, which has their code but not the "
            "module: put them on layers (convolutions, norms, activations) instead",
            stacklevel=3,
        )


def _check_belongs(plan: PoolingPlan, sites: dict[str, DownsamplingSite], model_name: str) -> None:
    unknown = [entry.site for entry in plan.sites if entry.site not in sites]
    if unknown:
        raise ValueError(
            f"the plan is for another model: {model_name} has no down-sampling site {unknown[0]!r} "
            f"(it has {', '.join(sites) or 'none'})"
        )


def _changes_nothing(site: DownsamplingSite, entry: SitePlan) -> bool:
    return entry.pool_stride == 1 and entry.conv_stride == site.reduction


class _Change:
    """One site's change inside a traced module."""

    def __init__(self, traced: TracedModel, site: DownsamplingSite, entry: SitePlan, training: bool) -> None:
        self.module, self.site, self.entry, self.training = traced.module, site, entry, training
        self._old_strides: list[tuple[nn.Conv2d, tuple[int, ...]]] = []
        read = [read_operator(traced, node) for node in operator_nodes(traced, site)]
        self._operators = [operator for operator in read if isinstance(operator, Operator)]
        # Built before anything is changed: a pool that refuses its arguments must leave the model as it was.
        places = places_of(traced, site, entry.placement) if entry.pool_stride > 1 else []
        self._pools = [(place, self._build_pool(place.channels)) for place in places]

    def insert_pools(self) -> None:
        """Put the pools in."""
        for index, (place, pool) in enumerate(self._pools):
            self._insert(place, pool, index)

    def set_strides(self) -> Replaced:
        """Change the operators, and say what was done."""
        for operator in self._operators if not _changes_nothing(self.site, self.entry) else []:
            if operator.stride != self.entry.conv_stride:
                self._set_stride(operator)
        pools = tuple(pool for _, pool in self._pools)
        return Replaced(
            self.site.name,
            self.site.operators,
            self.site.reduction,
            self.entry.conv_stride,
            pools[0] if pools else None,
            pools,
        )

    def restore_strides(self) -> None:
        """Give every convolution the stride that it had."""
        for conv, stride in self._old_strides:
            conv.stride = stride

    def _build_pool(self, channels: int) -> nn.Module:
        entry = self.entry
        pool = planned_pool(entry.pool, channels, entry.pool_stride, entry.kwargs).train(self.training)
        reference = next(self.module.parameters(), None)
        if reference is not None:
            pool.to(reference.device, reference.dtype if reference.is_floating_point() else None)
        return pool

    def _insert(self, place: Place, pool: nn.Module, index: int) -> None:
        name = "pools." + self.site.name.replace(".", "_") + (f"_{index}" if index else "")
        self.module.add_submodule(name, pool)
        with self.module.graph.inserting_after(place.node):
            node = self.module.graph.call_module(name, (place.node,))
        users = None if place.users is None else set(place.users)
        place.node.replace_all_uses_with(
            node, delete_user_cb=lambda user: user is not node and (users is None or user in users)
        )
        if not node.users:
            raise ValueError(
                f"the pool at {self.site.name} ({self.entry.placement}) would stand where another site's pool stands: "
                "give both the same placement"
            )

    def _set_stride(self, operator: Operator) -> None:
        stride = self.entry.conv_stride
        if operator.kind == "conv":
            self._set_conv_stride(operator, stride)
        elif stride == 1:
            operator.node.replace_all_uses_with(operator.node.all_input_nodes[0])
            self.module.graph.erase_node(operator.node)
        elif operator.kind == "slice":
            source, index = operator.node.args
            assert isinstance(index, tuple)
            operator.node.args = (source, tuple(_with_step(part, stride) for part in index))
        else:
            self._replace_pool(operator, stride)

    def _set_conv_stride(self, operator: Operator, stride: int) -> None:
        conv = self.module.get_submodule(str(operator.node.target))
        assert isinstance(conv, nn.Conv2d)
        self._old_strides.append((conv, conv.stride))
        conv.stride = (stride, stride)
        if max(operator.extra_pad) > 0:
            source = operator.node.all_input_nodes[0]
            with self.module.graph.inserting_before(operator.node):
                padded = self.module.graph.call_function(F.pad, (source, _sides(operator.extra_pad)))
            operator.node.replace_input_with(source, padded)

    def _replace_pool(self, operator: Operator, stride: int) -> None:
        """A pool of the network's own gives way to the same kind with kernel = stride."""
        name = f"pools.{operator.node.name}_own"
        own = self.module.get_submodule(str(operator.node.target)) if operator.kind == "blur" else None
        channels = int(getattr(own, "channels", None) or self.site.in_channels)
        self.module.add_submodule(name, create_pool(operator.kind, channels, stride))
        with self.module.graph.inserting_after(operator.node):
            node = self.module.graph.call_module(name, (operator.node.all_input_nodes[0],))
        operator.node.replace_all_uses_with(node)
        self.module.graph.erase_node(operator.node)


def _with_step(part: Any, step: int) -> Any:
    return slice(part.start, part.stop, step) if isinstance(part, slice) and (part.step or 1) > 1 else part


def _sides(extra: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return ``F.pad``'s argument for rows and columns below and to the right."""
    return (0, extra[1], 0, extra[0])
