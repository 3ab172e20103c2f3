"""Space-to-depth and a convolution without stride (SPD-Conv): Sunkara and Luo, ECML PKDD 2022 (arXiv 2208.03641)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sapool.layers.window import Pair, Window, WindowPool2d


def check_square_tiles(label: str, window: Window) -> None:
    """Raise a ValueError unless the windows are squares side by side, which is what space-to-depth can fold."""
    rows, columns = window.kernel_size
    why = "it cuts the map into square tiles"
    if rows != columns:
        raise ValueError(f"{label}: kernel_size must be square, because {why}, got {window.kernel_size}")
    if window.stride != window.kernel_size:
        raise ValueError(
            f"{label}: stride must be the kernel_size {window.kernel_size}, because {why}, got {window.stride}"
        )
    if window.padding != (0, 0):
        raise ValueError(f"{label}: padding must be 0, because {why}, got {window.padding}")
    if window.ceil_mode:
        raise ValueError(f"{label}: ceil_mode must be False, because {why}, got True")


class SpaceToDepthPool2d(WindowPool2d):
    """Move every s x s tile of pixels into the channels, then mix them by a convolution without stride.

    ``y = Conv_k(space_to_depth_s(x))``, s^2 C -> C channels: no pixel is dropped before a weight has seen it. The paper
    puts this pair where a network has a strided convolution or a pool; the network's own BatchNorm and activation
    follow, so none is here. The pair equals one convolution of kernel k s, stride s and padding s (k // 2); with
    ``conv_kernel_size=1`` that is a plain strided convolution as large as the window, and every output sees its own
    window alone.

    Args:
        in_channels: C.
        kernel_size: s, side of the tile, in pixels.
        stride: the kernel_size; nothing else.
        padding: 0; nothing else.
        ceil_mode: False; nothing else.
        conv_kernel_size: k, side of the convolution, in output pixels; odd, so that it has a centre.

    Raises:
        ValueError: a value out of its range.
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
        *,
        conv_kernel_size: int = 3,
    ) -> None:
        super().__init__(in_channels, kernel_size, stride, padding, ceil_mode)
        check_square_tiles(self.label, self.window)
        if conv_kernel_size < 1 or conv_kernel_size % 2 == 0:
            raise ValueError(f"{self.label}: conv_kernel_size must be odd and at least 1, got {conv_kernel_size}")
        depth = in_channels * self.window.area
        self.conv = nn.Conv2d(depth, in_channels, conv_kernel_size, padding=conv_kernel_size // 2)

    def transform(self, x: Tensor) -> Tensor:
        """Return the tiles of ``x`` (N, C, H, W) as channels: (N, s^2 C, H // s, W // s), position first."""
        # Not F.pixel_unshuffle: it leaves an empty batch as it is, and exports as a reshape of six dimensions.
        return torch.cat(list(self.window.samples(x)), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x`` (N, C, H, W) to (N, C, H // s, W // s); what fills no tile is dropped, as max pooling does.

        Raises:
            ValueError: another number of channels, or a map smaller than the tile.
        """
        self.check_map(x)
        return self.conv(self.transform(x))
