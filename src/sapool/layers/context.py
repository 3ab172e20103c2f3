"""What attention saw, added to a map and pooled with it.

``context = avg(U_p(BN(Conv1x1(A))))`` with A the attended tokens, U_p nearest upsampling by the patch and avg the plain
average of the pool's own window, by the same rule for its padding: ``avg(x) + context = avg(x + U_p(BN(Conv1x1(A))))``.
A non-local block (Wang, Girshick, Gupta, He, *Non-local Neural Networks*, CVPR 2018) adds to the map what it attends to
in the same way, and starts, as this does, with a BatchNorm whose weight is zero: training begins at plain pooling.
"""

from __future__ import annotations

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from sapool.layers.attention import PatchBatchNorm2d
from sapool.layers.weighted import WeightedWindow, spread_weight
from sapool.layers.window import Pair


class AttendedContext(nn.Module):
    """(N, E, h, w) attended tokens -> (N, C, Ho, Wo), what is added to the pooled map.

    Everything but the average runs on the tokens, and the average runs at full resolution only where patches and
    windows do not fit into each other.

    Args:
        embed_dim: E.
        channels: C.
        window: the pool's window, with the patch that a token stands for.
    """

    def __init__(self, embed_dim: int, channels: int, window: WeightedWindow) -> None:
        super().__init__()
        self.window = replace(window, normalize=False)
        self.project = nn.Conv2d(embed_dim, channels, 1, bias=False)
        self.norm = PatchBatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, attended: Tensor, size: Pair, stretch: bool = False) -> Tensor:
        """Return the context of the pooled map.

        Args:
            attended: tokens, (N, E, h, w).
            size: (rows, columns) of the map that is pooled, in pixels.
            stretch: whether the tokens are stretched over the map, instead of standing for a patch each.

        Returns:
            (N, C, Ho, Wo).
        """
        context = self.norm(self.project(attended))
        if stretch:
            return self.window.average(F.interpolate(context, size=size, mode="nearest"), self.window.count_include_pad)
        form, (rows, columns) = self.window.form, size
        if form != "general":
            step = self.window.patch_size if form == "pool_first" else self.window.stride
            rows, columns = rows // step[0], columns // step[1]
        spread = spread_weight(context, self.window, (rows, columns))
        return self.window.on_reduced.average(spread, self.window.count_include_pad)
