"""Putting a plan into a network: strides change, pools go in, every weight stays."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

from torch import fx, nn

from sapool.downsampling import find_sites
from sapool.graph import trace
from sapool.layers import create_pool
from sapool.plan import check_choices
from sapool.records import DownsamplingSite, PoolingPlan, SitePlan


@dataclass(frozen=True)
class Replaced:
    """What changed at one site: strides of its operators before and after, and the pool put in (None: none)."""

    site: str
    operators: tuple[str, ...]
    old_reduction: int
    conv_stride: int
    pool: nn.Module | None


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

    def undo(self) -> nn.Module:
        """Return the original network, with its strides back if the plan was applied in place."""
        return self._undo()


def apply_plan(model: nn.Module, plan: PoolingPlan, inplace: bool = False) -> Replacement:
    """Put ``plan`` into ``model``.

    Args:
        model: the network the plan was made for.
        plan: the plan.
        inplace: share the model's modules instead of copying them; until ``undo()`` the model itself is then changed.

    Returns:
        The new network and what changed. It keeps the model's weights, dtype, device and train/eval mode.

    Raises:
        ValueError: the plan is for another model, or changes nothing.
    """
    target = model if inplace else copy.deepcopy(model)
    traced = trace(target, plan.input_size)
    sites = {site.name: site for site in find_sites(traced) if isinstance(site, DownsamplingSite)}
    _check_belongs(plan, sites, type(model).__name__)
    for entry in plan.sites:
        check_choices(entry.pool, entry.placement, entry.kwargs)
    if all(_changes_nothing(sites[entry.site], entry) for entry in plan.sites):
        raise ValueError("the plan changes nothing: every site keeps its stride and gets no pool")
    graph_module = traced.module
    nodes = {node.name: node for node in graph_module.graph.nodes}
    changes = [_Change(graph_module, sites[entry.site], entry, nodes, target.training) for entry in plan.sites]
    replaced = tuple(change.make() for change in changes)
    graph_module.graph.lint()
    graph_module.recompile()
    graph_module.training = target.training

    def undo() -> nn.Module:
        for change in changes if inplace else []:
            change.restore_strides()
        return model

    return Replacement(graph_module, replaced, undo)


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

    def __init__(
        self,
        module: fx.GraphModule,
        site: DownsamplingSite,
        entry: SitePlan,
        nodes: dict[str, fx.Node],
        training: bool,
    ) -> None:
        self.module, self.site, self.entry, self.nodes, self.training = module, site, entry, nodes, training
        self._old_strides: list[tuple[nn.Conv2d, tuple[int, ...]]] = []
        # Built before anything is changed: a pool that refuses its arguments must leave the model as it was.
        self._pool = self._build_pool() if entry.pool_stride > 1 else None

    def make(self) -> Replaced:
        site, entry = self.site, self.entry
        if self._pool is not None:
            self._insert(self._pool)
        if not _changes_nothing(site, entry):
            for operator in site.operators:
                self._set_stride(operator)
        return Replaced(site.name, site.operators, site.reduction, entry.conv_stride, self._pool)

    def restore_strides(self) -> None:
        for conv, stride in self._old_strides:
            conv.stride = stride

    def _build_pool(self) -> nn.Module:
        entry = self.entry
        pool = create_pool(entry.pool, self.site.out_channels, entry.pool_stride, **entry.kwargs).train(self.training)
        reference = next(self.module.parameters(), None)
        if reference is not None:
            pool.to(reference.device, reference.dtype if reference.is_floating_point() else None)
        return pool

    def _insert(self, pool: nn.Module) -> None:
        name = "pools." + self.site.name.replace(".", "_")
        self.module.add_submodule(name, pool)
        way_out = self.nodes[self.site.exit]
        with self.module.graph.inserting_after(way_out):
            node = self.module.graph.call_module(name, (way_out,))
        way_out.replace_all_uses_with(node, delete_user_cb=lambda user: user is not node)

    def _set_stride(self, operator: str) -> None:
        module = self.module.get_submodule(operator)
        stride = self.entry.conv_stride
        if isinstance(module, nn.Conv2d):
            self._old_strides.append((module, module.stride))
            module.stride = (stride, stride)
        else:
            self._replace_pool(operator, stride)

    def _replace_pool(self, operator: str, stride: int) -> None:
        """A pool of the network's own gives way: to nothing at stride 1, else to the same kind with kernel = stride."""
        node = next(n for n in self.nodes.values() if n.op == "call_module" and n.target == operator)
        if stride == 1:
            (source,) = node.all_input_nodes
            node.replace_all_uses_with(source)
            self.module.graph.erase_node(node)
            return
        old = self.module.get_submodule(operator)
        kind = nn.MaxPool2d if isinstance(old, nn.MaxPool2d) else nn.AvgPool2d
        name = f"pools.{operator.replace('.', '_')}_own"
        self.module.add_submodule(name, kind(stride))
        node.target = name
