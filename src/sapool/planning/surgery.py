"""Putting a plan into a network: strides change, pools go in, every weight stays."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import fx, nn

from sapool.base.records import DownsamplingSite, PoolingPlan, SitePlan
from sapool.layers import has_hooks
from sapool.networks.containers import keep_attributes, keep_containers, keep_hooks
from sapool.networks.operators import Operator, samples, with_step
from sapool.networks.recorded import read_model
from sapool.networks.traced import InputSizeError, Network, TracedModel, evaluating, example_input, run_shapes
from sapool.planning.module_surgery import ModuleChange, Replaced, SiteChange
from sapool.planning.placement import Place, places_of
from sapool.planning.plan import check_choices
from sapool.planning.sites import find_sites, module_stack


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


def apply_plan(model: Network, plan: PoolingPlan, inplace: bool = False, *, dry_run: bool = False) -> Replacement:
    """Put ``plan`` into ``model``.

    Args:
        model: the network the plan was made for, or its trace.
        plan: the plan.
        inplace: share the model's modules instead of copying them; until ``undo()`` the model itself is then changed.
        dry_run: do it all on a copy, and return the model as it is with what would be replaced.

    Returns:
        The new network and what changed. It keeps the model's weights, dtype, device, train/eval mode, frozen weights,
        the hooks of its layers and of whatever runs in one piece; other hooks are named in a warning. It is a
        ``torch.fx.GraphModule`` whose containers index as before, or, where torch.fx can't trace the model, of the
        model's own class.

    Raises:
        ValueError: the plan is for another model, changes nothing, or leaves paths that meet with different sizes.
    """
    for entry in plan.sites:
        check_choices(entry.pool, entry.placement, entry.kwargs)
    original = read_model(model, plan.input_size)
    traced, sites = _read(original.copied(share_modules=inplace and not dry_run), plan)
    kind = ModuleChange if traced.untraceable else _GraphChange
    changes = [kind(traced, sites[entry.site], entry, traced.model.training) for entry in plan.sites]
    if all(change.changes_nothing for change in changes):
        raise ValueError("the plan changes nothing: every site keeps its stride and gets no pool")
    for change in changes:  # all pools first: a pool may stand behind an operator that then goes
        change.insert_pools()
    replaced = tuple(change.set_strides() for change in changes)

    def undo() -> nn.Module:
        for change in reversed(changes) if inplace else []:
            change.restore()
        return original.model

    try:  # paths that meet must still have one size
        changed = _finish(traced, plan)
    except InputSizeError as error:
        undo()
        rounded = [s.name for s in sites.values() if any(n % s.reduction for n in s.before)]
        hint = f" (pools round the odd maps of {', '.join(rounded)} down: ceil_mode=True rounds up)" if rounded else ""
        raise ValueError(f"the plan does not fit {type(original.model).__name__}: {error}{hint}") from error
    return Replacement(original.model if dry_run else changed, replaced, undo, original.model)


def _finish(traced: TracedModel, plan: PoolingPlan) -> nn.Module:
    """Return the changed network, once it has run.

    Raises:
        InputSizeError: it does not run.
    """
    model = traced.model
    if traced.untraceable:
        with evaluating(model):
            try:
                model(example_input(model, plan.input_size))
            except Exception as error:  # a model's own code runs here and may raise anything
                raise InputSizeError(str(error).strip().split("\n")[0]) from error
        return model
    module = traced.module
    module.graph.lint()
    module.recompile()
    module.training = model.training
    run_shapes(module, plan.input_size)
    keep_containers(module, model)
    keep_attributes(module, model)
    keep_hooks(module, model)
    _warn_of_lost_hooks(model, module)
    return module


Sites = dict[str, DownsamplingSite]


def _sites_by_name(traced: TracedModel) -> Sites:
    return {site.name: site for site in find_sites(traced) if isinstance(site, DownsamplingSite)}


def _read(traced: TracedModel, plan: PoolingPlan) -> tuple[TracedModel, Sites]:
    """Return a trace with its sites; containers that have hooks are traced in one piece if that moves no pool."""
    model = traced.model
    best, whole = (traced, _sites_by_name(traced)), list[str]()
    _check_belongs(plan, best[1], type(model).__name__)
    hooked = [] if traced.untraceable or isinstance(model, fx.GraphModule) else _hooked_containers(model, traced)
    for names in ([hooked] if len(hooked) > 1 else []) + [[name] for name in hooked]:
        if set(names) <= set(whole):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what can't be traced has been said
            parts_whole = read_model(model, plan.input_size, [*whole, *names])
        again = parts_whole, _sites_by_name(parts_whole)
        if _same_plan(best, again, plan):
            best, whole = again, [*whole, *names]
    return best


def _hooked_containers(model: nn.Module, traced: TracedModel) -> list[str]:
    """Return the modules with hooks that are traced through and hold nothing that shrinks maps."""
    nodes = [(node, {path for path, _ in module_stack(node)}) for node in traced.module.graph.nodes]
    hooked = [name for name, module in model.named_modules() if name and has_hooks(module)]
    inside = {name: [node for node, stack in nodes if name in stack and name != node.target] for name in hooked}
    return [name for name in hooked if inside[name] and not any(samples(traced, node) for node in inside[name])]


def _same_plan(old: tuple[TracedModel, Sites], new: tuple[TracedModel, Sites], plan: PoolingPlan) -> bool:
    """Whether two traces have the same sites, and the plan's pools at the same places."""
    (before, old_sites), (after, new_sites) = old, new
    if [replace(s, exit="") for s in old_sites.values()] != [replace(s, exit="") for s in new_sites.values()]:
        return False
    for entry in plan.sites:
        pairs = zip(
            places_of(before, old_sites[entry.site], entry.placement),
            places_of(after, new_sites[entry.site], entry.placement),
            strict=True,
        )
        if not all(_same_place(one.node, other.node) for one, other in pairs):
            return False
    return True


def _same_place(old: fx.Node, new: fx.Node) -> bool:
    """Whether the nodes are one, or the new one is a container and the old one what comes out of it."""
    if (old.target, module_stack(old)) == (new.target, module_stack(new)):
        return True
    path = new.target
    return path in dict(module_stack(old)) and not any(path in dict(module_stack(user)) for user in old.users)


def _warn_of_lost_hooks(model: nn.Module, graph_module: fx.GraphModule) -> None:
    called = {str(node.target) for node in graph_module.graph.nodes if node.op == "call_module"}
    lost = [
        name
        for name, module in model.named_modules()
        if name and has_hooks(module) and not any(name == c or name.startswith(c + ".") for c in called)
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


class _GraphChange(SiteChange):
    """One site's change inside a traced module."""

    def __init__(self, traced: TracedModel, site: DownsamplingSite, entry: SitePlan, training: bool) -> None:
        super().__init__(traced, site, entry, training)
        self.module: fx.GraphModule = traced.module

    def insert_pools(self) -> None:
        """Put the pools in."""
        for index, (place, pool) in enumerate(self._pools):
            self._insert(place, pool, index)

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
            operator.node.args = (source, tuple(with_step(part, stride) for part in index))
        else:
            self._replace_pool(operator)

    def _set_conv_stride(self, operator: Operator, stride: int) -> None:
        conv = self.module.get_submodule(str(operator.node.target))
        assert isinstance(conv, nn.Conv2d)
        self._give_stride(conv, stride)
        if max(operator.extra_pad) > 0:
            source = operator.node.all_input_nodes[0]
            with self.module.graph.inserting_before(operator.node):
                padded = self.module.graph.call_function(F.pad, (source, _sides(operator.extra_pad)))
            operator.node.replace_input_with(source, padded)

    def _replace_pool(self, operator: Operator) -> None:
        """A pool of the network's own gives way to the same kind with kernel = stride."""
        name = f"pools.{operator.node.name}_own"
        own = self.module.get_submodule(str(operator.node.target)) if operator.kind == "blur" else None
        self.module.add_submodule(name, self._own_kind(operator, own))
        with self.module.graph.inserting_after(operator.node):
            node = self.module.graph.call_module(name, (operator.node.all_input_nodes[0],))
        operator.node.replace_all_uses_with(node)
        self.module.graph.erase_node(operator.node)


def _sides(extra: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return ``F.pad``'s argument for rows and columns below and to the right."""
    return (0, extra[1], 0, extra[0])
