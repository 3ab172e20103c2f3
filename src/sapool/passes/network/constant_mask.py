"""A mask that all channels share, as one mask a channel: no BROADCAST_TO makes the weights at run time. Exact."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sapool.layers import GatedPool2d
from sapool.passes.network._modules import modules_of


def spread_masks(model: nn.Module, images: Tensor) -> int:
    """Give every gated pool with a shared mask one a channel; returns how many."""
    changed = 0
    for _, pool in modules_of(model, GatedPool2d):
        if pool.omega.shape[0] < pool.in_channels:
            with torch.no_grad():
                spread = pool.omega.expand(pool.in_channels, -1, -1, -1).contiguous()
            pool.omega = nn.Parameter(spread, requires_grad=False)
            changed += 1
    return changed
