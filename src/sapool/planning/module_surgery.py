"""Putting one site's plan into the modules themselves, where there is no graph to put it into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from sapool.base.records import DownsamplingSite, SitePlan
from sapool.layers import create_pool
from sapool.networks.operators import Operator, read_operator
from sapool.networks.traced import TracedModel
from sapool.planning.placement import operator_nodes, places_of
from sapool.planning.plan import planned_pool

POOL_NAME = "planned_pool"


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


class SiteChange:
    """One site's change: what graph and modules have in common. Nothing is changed before ``insert_pools``."""

    def __init__(self, traced: TracedModel, site: DownsamplingSite, entry: SitePlan, training: bool) -> None:
        self.site, self.entry, self.training = site, entry, training
        self.module: nn.Module = traced.module
        read = [read_operator(traced, node) for node in operator_nodes(traced, site)]
        self._operators = [operator for operator in read if isinstance(operator, Operator)]
        # Built before anything is changed: a pool that refuses its arguments must leave the model as it was.
        places = places_of(traced, site, entry.placement) if entry.pool_stride > 1 else []
        self._pools = [(place, self._build_pool(place.channels)) for place in places]
        self._back: list[Callable[[], object]] = []

    @property
    def changes_nothing(self) -> bool:
        """Whether the site keeps its stride and gets no pool."""
        return self.entry.pool_stride == 1 and self.entry.conv_stride == self.site.reduction

    def insert_pools(self) -> None:
        """Put the pools in."""
        raise NotImplementedError

    def set_strides(self) -> Replaced:
        """Change the operators, and say what was done."""
        for operator in self._operators if not self.changes_nothing else []:
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

    def restore(self) -> None:
        """Give the model's own modules back what they had."""
        while self._back:
            self._back.pop()()

    def _set_stride(self, operator: Operator) -> None:
        raise NotImplementedError

    def _give_stride(self, conv: nn.Conv2d, stride: int) -> None:
        self._back.append(lambda old=conv.stride: setattr(conv, "stride", old))  # type: ignore[misc]
        conv.stride = (stride, stride)

    def _build_pool(self, channels: int) -> nn.Module:
        entry = self.entry
        pool = planned_pool(entry.pool, channels, entry.pool_stride, entry.kwargs).train(self.training)
        reference = next(self.module.parameters(), None)
        if reference is not None:
            pool.to(reference.device, reference.dtype if reference.is_floating_point() else None)
        return pool

    def _own_kind(self, operator: Operator, own: nn.Module | None) -> nn.Module:
        """Return a pool of the same kind as the network's own, with kernel = stride."""
        channels = int(getattr(own, "channels", None) or self.site.in_channels)
        return create_pool(operator.kind, channels, self.entry.conv_stride)


class ModuleChange(SiteChange):
    """A change of the modules: a convolution pools what it makes, a pool gives way to another.

    A convolution keeps its name and its weights; its pool is its child ``planned_pool``, run by a forward hook.
    """

    def __init__(self, traced: TracedModel, site: DownsamplingSite, entry: SitePlan, training: bool) -> None:
        self._model = traced.model
        super().__init__(traced, site, entry, training)

    def insert_pools(self) -> None:
        """Put a pool behind every convolution; a pool of the network's own is left to ``set_strides``."""
        for operator, (_, pool) in zip(self._operators, self._pools, strict=False):
            conv = self._model.get_submodule(str(operator.node.target))
            if operator.kind == "conv":
                conv.add_module(POOL_NAME, pool)
                handle = conv.register_forward_hook(pool_output)
                self._back += [handle.remove, lambda conv=conv: delattr(conv, POOL_NAME)]  # type: ignore[misc]
            else:
                self._swap(operator, nn.Sequential(conv, pool))

    def _set_stride(self, operator: Operator) -> None:
        own: Any = self._model.get_submodule(str(operator.node.target))
        stride = self.entry.conv_stride
        if isinstance(own, nn.Conv2d):
            self._give_stride(own, stride)
            if max(operator.extra_pad) > 0:
                self._back.append(own.register_forward_pre_hook(PadInput(*operator.extra_pad), with_kwargs=True).remove)
            return
        pool = own[1] if isinstance(own, nn.Sequential) else None
        first = nn.Identity() if stride == 1 else self._own_kind(operator, own[0] if pool is not None else own)
        if pool is not None:
            self._swap(operator, pool if stride == 1 else nn.Sequential(first, pool))
        else:
            self._swap(operator, first)

    def _swap(self, operator: Operator, new: nn.Module) -> None:
        parent, _, name = str(operator.node.target).rpartition(".")
        owner = self._model.get_submodule(parent)
        old = getattr(owner, name)
        setattr(owner, name, new.train(self.training))
        self._back.append(lambda: setattr(owner, name, old))


def pool_output(module: Any, args: Any, output: Tensor) -> Tensor:
    """Forward hook: pool what a convolution made, (N, C, H, W)."""
    pooled: Tensor = module.planned_pool(output)
    return pooled


class PadInput:
    """Forward pre-hook: put zeros below and to the right of a convolution's input."""

    def __init__(self, rows: int, columns: int) -> None:
        self.sides = (0, columns, 0, rows)

    def __call__(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return the arguments with the map (N, C, H, W) padded."""
        if args:
            return (F.pad(args[0], self.sides), *args[1:]), kwargs
        return args, {**kwargs, "input": F.pad(kwargs["input"], self.sides)}
