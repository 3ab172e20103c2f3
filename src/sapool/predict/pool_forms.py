"""Pooling layers in the form in which they are exported, for predictions."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from sapool.passes import PASSES, apply_passes


class _Alone(nn.Module):
    """A network of one pooling layer: passes replace modules inside a network, not the network."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, Ho, Wo)."""
        return self.pool(x)


def deploy_pool(pool: nn.Module, example: Tensor, passes: tuple[str, ...] = tuple(PASSES)) -> nn.Module:
    """Return a copy of ``pool`` with the network passes in it, for maps like ``example`` (1, C, H, W).

    Without memory where that goes (on the meta device); a pass that looks at values needs real ones.
    """
    try:
        return _deployed(pool, example.to("meta"), passes)
    except (NotImplementedError, RuntimeError):
        return _deployed(pool, torch.rand(example.shape), passes)


def _deployed(pool: nn.Module, example: Tensor, passes: tuple[str, ...]) -> nn.Module:
    network = _Alone(copy.deepcopy(pool).to(example.device, torch.float32).eval())
    apply_passes(network, example, passes)
    return network
