"""The memory of many plans for one network: traced once, then lowered in milliseconds a plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from sapool.base.records import DownsamplingSite, PoolingPlan, SitePlan
from sapool.memory import MemoryProfile, profile_graph
from sapool.networks.operators import Operator, read_operator
from sapool.networks.traced import InputSize, Network, TracedModel, as_input_size, trace
from sapool.planning.placement import Place, operator_nodes, places_of
from sapool.planning.plan import Stride, plan_sites, planned_pool
from sapool.planning.sites import find_sites
from sapool.predict.lowering import Changes, lower
from sapool.predict.pool_forms import deploy_pool
from sapool.tflite import Graph


class Predictor:
    """Plans for one network at one input size, predicted without touching the network."""

    def __init__(self, model: Network, input_size: InputSize) -> None:
        self.size = as_input_size(input_size)
        self.traced: TracedModel = trace(model, self.size)
        found = find_sites(self.traced)
        self.sites = [site for site in found if isinstance(site, DownsamplingSite)]
        self._operators = {site.name: self._read(site) for site in self.sites}
        self._places: dict[tuple[str, str], list[Place]] = {}
        self._pools: dict[Any, nn.Module] = {}
        self._memo: dict[Any, Any] = {}

    def _read(self, site: DownsamplingSite) -> list[Operator]:
        read = [read_operator(self.traced, node) for node in operator_nodes(self.traced, site)]
        return [operator for operator in read if isinstance(operator, Operator)]

    def _places_of(self, traced: TracedModel, site: DownsamplingSite, placement: str) -> list[Place]:
        key = (site.name, placement)
        if key not in self._places:
            self._places[key] = places_of(traced, site, placement)
        return self._places[key]

    def plan(self, pool: str, strides: Sequence[Stride], placement: str, kwargs: dict[str, Any]) -> PoolingPlan:
        """Plan as :func:`sapool.make_plan` does.

        Raises:
            ValueError: the plan is impossible; the message says at which site.
        """
        return plan_sites(self.traced, self.sites, self.size, pool, strides, placement, kwargs, self._places_of)

    def graph(self, plan: PoolingPlan) -> Graph:
        """Return the operators that the re-planned network would be exported as.

        Raises:
            ValueError: paths that meet would have different sizes.
        """
        changes = self._changes(plan)
        return lower(self.traced.module, self.size, deploy_pool, self._memo, changes)

    def profile(self, plan: PoolingPlan) -> MemoryProfile:
        """Predict the arena of the re-planned network."""
        return profile_graph(self.graph(plan))

    def _changes(self, plan: PoolingPlan) -> Changes:
        changes = Changes()
        sites = {site.name: site for site in self.sites}
        for entry in plan.sites:
            site = sites[entry.site]
            if entry.pool_stride > 1:
                self._put_pools(changes, site, entry)
            if entry.pool_stride > 1 or entry.conv_stride != site.reduction:
                for operator in self._operators[site.name]:
                    self._set_stride(changes, site, operator, entry.conv_stride)
        return changes

    def _put_pools(self, changes: Changes, site: DownsamplingSite, entry: SitePlan) -> None:
        name = "pools." + site.name.replace(".", "_")
        for place in self._places_of(self.traced, site, entry.placement):
            pool = self._pool(entry.pool, place.channels, entry.pool_stride, entry.kwargs)
            changes.behind.setdefault(place.node, []).append((name, pool, place.users))

    def _pool(self, name: str, channels: int, stride: int, kwargs: dict[str, Any]) -> nn.Module:
        key = (name, channels, stride, repr(kwargs))
        if key not in self._pools:
            self._pools[key] = planned_pool(name, channels, stride, kwargs)
        return self._pools[key]

    def _set_stride(self, changes: Changes, site: DownsamplingSite, operator: Operator, stride: int) -> None:
        if operator.stride == stride:
            return
        if operator.kind == "conv":
            changes.strides[operator.node] = (stride, operator.extra_pad)
        elif stride == 1:
            changes.gone.add(operator.node)
        elif operator.kind == "slice":
            changes.steps[operator.node] = stride
        else:
            own = self.traced.module.get_submodule(str(operator.node.target)) if operator.kind == "blur" else None
            channels = int(getattr(own, "channels", None) or site.in_channels)
            changes.instead[operator.node] = self._pool(operator.kind, channels, stride, {})
