"""The levels that SSDLite adds behind its backbone (Sandler et al., CVPR 2018, section 6.2)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from sapool.detection.features import FeatureMaps

Norm = Callable[..., nn.Module]


class ExtraLevels(nn.Module):
    """A backbone's maps, then maps of half the size each, as long as there is more than one cell left.

    Args:
        maps: the backbone.
        channels: of the levels to add; levels that would come behind a single cell are left out.
        sides: height and width of the image, in pixels.
        norm: makes a normalisation of so many channels.

    Attributes:
        strides: of every level, in pixels.
        channels: of every level.
    """

    def __init__(self, maps: FeatureMaps, channels: Sequence[int], sides: tuple[int, int], norm: Norm) -> None:
        super().__init__()
        self.body = maps
        found, strides = [level.channels for level in maps.levels], [level.stride for level in maps.levels]
        blocks = []
        for count in channels:
            if max(sides) <= strides[-1]:
                break
            blocks.append(_extra_block(found[-1], count, norm))
            found.append(count)
            strides.append(strides[-1] * 2)
        self.extra = nn.ModuleList(blocks)
        self.channels, self.strides = tuple(found), tuple(strides)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """Images (N, C, H, W) -> levels (N, C', H / stride, W / stride), finest first."""
        levels = self.body(x)
        for block in self.extra:
            levels[str(len(levels))] = block(levels[str(len(levels) - 1)])
        return levels


def _extra_block(in_channels: int, out_channels: int, norm: Norm) -> nn.Sequential:
    """Half the channels by a 1x1 convolution, half the map by a depthwise 3x3, then ``out_channels`` by a 1x1."""
    hidden = out_channels // 2
    kinds = {"norm_layer": norm, "activation_layer": nn.ReLU6}
    block = nn.Sequential(
        Conv2dNormActivation(in_channels, hidden, 1, **kinds),
        Conv2dNormActivation(hidden, hidden, 3, stride=2, groups=hidden, **kinds),
        Conv2dNormActivation(hidden, out_channels, 1, **kinds),
    )
    for layer in block.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.03)  # as torchvision starts SSDLite's
    return block
