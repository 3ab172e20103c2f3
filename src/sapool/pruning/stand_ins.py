"""While channels are followed through a network, simple layers stand where its pooling layers are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sapool.pruning.pools import rule_of


class PoolStandIn(nn.Module):
    """One per-channel operation of autograd in the place of a pool: (N, C, H, W) -> (N, C, Ho, Wo), as the pool's."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self._held = [pool]  # not a child: what is inside is no layer of the network's

    @property
    def pool(self) -> nn.Module:
        """The pool."""
        return self._held[0]

    def forward(self, x: Tensor) -> Tensor:
        """Average ``x`` to the size that the pool gives it."""
        with torch.no_grad():
            size = self.pool(x).shape[2:]
        return F.adaptive_avg_pool2d(x, (size[0], size[1]))


class StandIns:
    """The pools of a network by name, and how to take their places for a while."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._made: dict[nn.Module, PoolStandIn] = {}
        self.names: dict[str, PoolStandIn] = {}
        for name, module in model.named_modules(remove_duplicate=False):
            inside = any(name.startswith(f"{pool}.") for pool in self.names)
            if name and not inside and rule_of(module) is not None:
                self.names[name] = self._made.setdefault(module, PoolStandIn(module))

    def of(self, module: nn.Module) -> nn.Module:
        """Return what stands for ``module``: itself unless it is a pool."""
        return self._made.get(module, module)

    @contextmanager
    def placed(self) -> Iterator[None]:
        """Put the stand-ins into the network, and the pools back at the end."""
        self._put(dict(self.names))
        try:
            yield
        finally:
            self._put({name: stand_in.pool for name, stand_in in self.names.items()})

    def _put(self, modules: Mapping[str, nn.Module]) -> None:
        for name, module in modules.items():
            parent, _, last = name.rpartition(".")
            self.model.get_submodule(parent).register_module(last, module)
