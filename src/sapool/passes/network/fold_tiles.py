"""Space-to-depth and Haar pooling as one strided convolution.

Both lay the pixels of every s x s tile into channels by a fixed linear map T, then convolve (k x k, stride 1): tap
(u, v) of that convolution sees tile (u, v), so the whole is one convolution of kernel k s, stride s and padding
s (k // 2) with weights ``W[:, :, u, v] T``. Exact up to rounding. The same MACs, and neither slices nor a
CONCATENATION, of which the runtime takes at most 10 inputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sapool.layers import HaarPool2d, SpaceToDepthPool2d, Window
from sapool.passes.network._modules import modules_of, replace_module


class TiledConv2d(nn.Module):
    """A convolution over whole tiles of the map; what fills no tile is dropped first, as the pool did."""

    def __init__(self, conv: nn.Conv2d, window: Window, norm: nn.Module | None) -> None:
        super().__init__()
        self.conv, self.window = conv, window
        self.after = nn.Identity() if norm is None else nn.Sequential(norm, nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x`` (N, C, H, W) to (N, C, H // s, W // s)."""
        return self.after(self.conv(self.window.pad(x)))


def fold_tiles(model: nn.Module, images: Tensor) -> int:
    """Fold every space-to-depth and Haar pooling into a convolution; returns how many."""
    found: list[tuple[str, nn.Module]] = []
    for name, shuffled in modules_of(model, SpaceToDepthPool2d):
        found.append((name, TiledConv2d(_folded(shuffled, shuffled.conv), shuffled.window, None)))
    for name, haar in modules_of(model, HaarPool2d):
        found.append((name, TiledConv2d(_folded(haar, haar.mix), haar.window, haar.mix_norm)))
    inside = [(name, new) for name, new in found if name]  # the network itself can't be replaced
    for name, new in inside:
        replace_module(model, name, new)
    return len(inside)


@torch.no_grad()
def _folded(pool: SpaceToDepthPool2d | HaarPool2d, conv: nn.Conv2d) -> nn.Conv2d:
    channels, side = pool.in_channels, pool.window.kernel_size[0]
    # One impulse a pixel and channel of a tile: what T makes of each is a row of its matrix.
    impulses = torch.eye(channels * side * side, dtype=conv.weight.dtype).view(-1, channels, side, side)
    rows = pool.transform(impulses).flatten(1)
    taps, half = conv.kernel_size[0], conv.kernel_size[0] // 2
    folded = nn.Conv2d(channels, conv.out_channels, taps * side, side, side * half, dtype=conv.weight.dtype)
    weight = torch.einsum("obuv,pb->opuv", conv.weight, rows)
    weight = weight.view(conv.out_channels, channels, side, side, taps, taps).permute(0, 1, 4, 2, 5, 3)
    folded.weight.copy_(weight.reshape(folded.weight.shape))
    folded.bias = conv.bias
    return folded
