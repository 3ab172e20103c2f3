"""The authors' ResNets (He et al., CVPR 2016) and ResNeXt (Xie et al., CVPR 2017), with pools in place of strides.

The plain names pool at the end of a stage, the ``_v2`` names and ResNeXt at the end of a stage's first block.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from sapool.networks.authors.blocks import conv_norm, pool_layers
from sapool.networks.authors.names import Architecture, Reduction


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; the input is added, through a 1x1 convolution if ``project``."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, groups: int, project: bool) -> None:
        super().__init__()
        self.conv1 = conv_norm(in_channels, width, 3, stride)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = conv_norm(width, width, 3, groups=groups)
        self.shortcut = conv_norm(in_channels, width, 1, stride) if project else nn.Identity()
        self.act2 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, width, H / stride, W / stride)."""
        return self.act2(self.conv2(self.act1(self.conv1(x))) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions; the input is added, through a 1x1 convolution if ``project``."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, groups: int, project: bool) -> None:
        super().__init__()
        self.conv1 = conv_norm(in_channels, width, 1)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = conv_norm(width, width, 3, stride, groups)
        self.act2 = nn.ReLU(inplace=True)
        self.conv3 = conv_norm(width, width * self.expansion, 1)
        self.shortcut = conv_norm(in_channels, width * self.expansion, 1, stride) if project else nn.Identity()
        self.act3 = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 4 width, H / stride, W / stride)."""
        out = self.conv3(self.act2(self.conv2(self.act1(self.conv1(x)))))
        return self.act3(out + self.shortcut(x))


@dataclass(frozen=True)
class _Layout:
    block: type[BasicBlock] | type[Bottleneck]
    counts: tuple[int, int, int, int]
    pools_first: bool = False
    groups: int = 1
    fixed_stem: bool = False


_LAYOUTS = {
    "resnet18": _Layout(BasicBlock, (2, 2, 2, 2)),
    "resnet50": _Layout(Bottleneck, (3, 4, 6, 3)),
    "resnet18_v2": _Layout(BasicBlock, (2, 2, 2, 2), pools_first=True),
    "resnet50_v2": _Layout(Bottleneck, (3, 4, 6, 3), pools_first=True),
    "resnext18": _Layout(BasicBlock, (2, 2, 2, 2), pools_first=True, groups=32, fixed_stem=True),
}


def _stem(prepool: Reduction | None, fixed: bool) -> list[nn.Module]:
    def conv(stride: int) -> list[nn.Module]:
        return [conv_norm(3, 64, 7, stride), nn.ReLU(inplace=True)]

    if fixed:
        return [*conv(2), nn.MaxPool2d(3, 2, 1)]
    if prepool is None:
        return [*conv(2), nn.MaxPool2d(2)]
    # The convolution stays at stride 1 even for skip, which then reduces nothing: so the authors' results were made.
    return [*conv(1), *pool_layers(prepool, 64)]


def _stage(layout: _Layout, in_channels: int, width: int, count: int, reduction: Reduction) -> nn.Sequential:
    channels = width * layout.block.expansion
    # Where the pool follows the first block, that block projects as if its convolution were strided.
    stride = reduction.stride if layout.pools_first else reduction.conv_stride
    project = stride != 1 or in_channels != channels
    layers: list[nn.Module] = [layout.block(in_channels, width, reduction.conv_stride, layout.groups, project)]
    layers += [layout.block(channels, width, 1, layout.groups, False) for _ in range(count - 1)]
    place = 1 if layout.pools_first else count
    layers[place:place] = pool_layers(reduction, channels)
    return nn.Sequential(*layers)


class ResNet(nn.Module):
    """ResNet-18, ResNet-50 or ResNeXt-18 as a name describes it.

    Args:
        architecture: what :func:`sapool.networks.authors.parse_name` returned for a ResNet.
        num_classes: outputs of the classifier.
    """

    def __init__(self, architecture: Architecture, num_classes: int) -> None:
        super().__init__()
        layout = _LAYOUTS[architecture.backbone]
        layers, channels = _stem(architecture.prepool, layout.fixed_stem), 64
        for width, count, reduction in zip((64, 128, 256, 512), layout.counts, architecture.stages, strict=True):
            layers.append(_stage(layout, channels, width, count, reduction))
            channels = width * layout.block.expansion
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores (N, num_classes) of images (N, 3, H, W)."""
        return self.classifier(self.pool(self.features(x)).flatten(1))
