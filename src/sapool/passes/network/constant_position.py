"""Position tables as one constant of the map's size: the rows and columns need no BROADCAST_TO at run time. Exact."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sapool.layers import LearnedPosition2d
from sapool.passes.network._modules import modules_of, record_inputs, replace_module


class ConstantPosition(nn.Module):
    """The position map of one map size, (1, E, h, w)."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table, requires_grad=False)

    def forward(self, height: int, width: int) -> Tensor:
        """Return the position map (1, E, height, width)."""
        return self.table


def freeze_positions(model: nn.Module, images: Tensor) -> int:
    """Freeze every learned position that is asked for one map size only; returns how many."""
    sizes = record_inputs(model, images, LearnedPosition2d)
    changed = 0
    for name, position in modules_of(model, LearnedPosition2d):
        asked = set(sizes.get(name, []))
        if len(asked) == 1:
            with torch.no_grad():
                table = position(*asked.pop()).contiguous()
            replace_module(model, name, ConstantPosition(table))
            changed += 1
    return changed
