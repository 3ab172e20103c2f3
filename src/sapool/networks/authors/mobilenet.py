"""The authors' MobileNetV2 (Sandler et al., CVPR 2018) and MobileNetV3 (Howard et al., ICCV 2019), with pools.

``mobilenet`` pools at the start of a stage, ``mobilenet_v2`` inside its first inverted residual (both are
MobileNetV2), ``mobilenetv3_*`` inside a bottleneck.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from sapool.networks.authors.blocks import conv_norm, linear, pool_layers
from sapool.networks.authors.names import Architecture, Reduction


def _stem(prepool: Reduction | None, channels: int, act: nn.Module) -> list[nn.Module]:
    if prepool is None:
        return [conv_norm(3, channels, 3, 2), act]
    return [conv_norm(3, channels, 3, prepool.conv_stride), act, *pool_layers(prepool, channels)]


class InvertedResidual(nn.Module):
    """Expand, filter by depth, project, pool; the input is added where stride and channels allow it."""

    def __init__(
        self, in_channels: int, out_channels: int, expansion: int, stride: int = 1, pool: list[nn.Module] | None = None
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.residual = stride == 1 and not pool and in_channels == out_channels
        expand = [conv_norm(in_channels, hidden, 1), nn.ReLU6(inplace=True)] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expand,
            conv_norm(hidden, hidden, 3, stride, groups=hidden),
            nn.ReLU6(inplace=True),
            conv_norm(hidden, out_channels, 1),
            *(pool or []),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H / reduction, W / reduction)."""
        out = self.layers(x)
        return x + out if self.residual else out


# (expansion, channels, blocks) of each stage.
_V2_STAGES = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))


class MobileNetV2(nn.Module):
    """MobileNetV2 as a name describes it; ``mobilenet`` and ``mobilenet_v2`` differ in where they pool.

    Args:
        architecture: what :func:`sapool.networks.authors.parse_name` returned for one of the two.
        num_classes: outputs of the classifier.
    """

    def __init__(self, architecture: Architecture, num_classes: int) -> None:
        super().__init__()
        inside = architecture.backbone == "mobilenet_v2"
        layers, channels = _stem(architecture.prepool, 32, nn.ReLU6(inplace=True)), 32
        for (expansion, width, count), reduction in zip(_V2_STAGES, architecture.stages, strict=True):
            before = [] if inside else pool_layers(reduction, channels)
            pool = pool_layers(reduction, width) if inside else None
            first = InvertedResidual(channels, width, expansion, reduction.conv_stride, pool)
            rest = [InvertedResidual(width, width, expansion) for _ in range(count - 1)]
            layers.append(nn.Sequential(*before, first, *rest))
            channels = width
        self.features = nn.Sequential(*layers, conv_norm(channels, 1280, 1), nn.ReLU6(inplace=True))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = linear(1280, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores (N, num_classes) of images (N, 3, H, W)."""
        return self.classifier(self.pool(self.features(x)).flatten(1))


class SqueezeExcitation(nn.Module):
    """Multiply each channel by a gate computed from all channels' averages (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = _multiple_of_8(channels / 4)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(squeezed, channels, 1),
            nn.Hardsigmoid(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        return x * self.gate(x)


def _multiple_of_8(width: float) -> int:
    """Round as MobileNets do: to the nearest multiple of 8 that is not more than a tenth too small."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width else rounded + 8


@dataclass(frozen=True)
class _Row:
    kernel_size: int
    hidden: int
    channels: int
    squeeze: bool
    hardswish: bool


_SMALL = (
    _Row(3, 16, 16, True, False),
    _Row(3, 72, 24, False, False),
    _Row(3, 88, 24, False, False),
    _Row(5, 96, 40, True, True),
    _Row(5, 240, 40, True, True),
    _Row(5, 240, 40, True, True),
    _Row(5, 120, 48, True, True),
    _Row(5, 144, 48, True, True),
    _Row(5, 288, 96, True, True),
    _Row(5, 576, 96, True, True),
    _Row(5, 576, 96, True, True),
)
_LARGE = (
    _Row(3, 16, 16, False, False),
    _Row(3, 64, 24, False, False),
    _Row(3, 72, 24, False, False),
    _Row(5, 72, 40, True, False),
    _Row(5, 120, 40, True, False),
    _Row(5, 120, 40, True, False),
    _Row(3, 240, 80, False, True),
    _Row(3, 200, 80, False, True),
    _Row(3, 184, 80, False, True),
    _Row(3, 184, 80, False, True),
    _Row(3, 480, 112, True, True),
    _Row(3, 672, 112, True, True),
    _Row(5, 672, 160, True, True),
    _Row(5, 960, 160, True, True),
    _Row(5, 960, 160, True, True),
)
# (bottlenecks, width of the layer before the classifier)
_V3 = {"mobilenetv3_small": (_SMALL, 1024), "mobilenetv3_large": (_LARGE, 1280)}


class V3Bottleneck(nn.Module):
    """Expand, filter by depth, project, squeeze-and-excite, pool; a shortcut where nothing reduces the map."""

    def __init__(self, in_channels: int, row: _Row, reduction: Reduction) -> None:
        super().__init__()
        act = nn.Hardswish if row.hardswish else nn.ReLU
        expand = [conv_norm(in_channels, row.hidden, 1), act(inplace=True)] if row.hidden != in_channels else []
        self.layers = nn.Sequential(
            *expand,
            conv_norm(row.hidden, row.hidden, row.kernel_size, reduction.conv_stride, groups=row.hidden),
            act(inplace=True),
            conv_norm(row.hidden, row.channels, 1),
            *([SqueezeExcitation(row.channels)] if row.squeeze else []),
            *pool_layers(reduction, row.channels),
        )
        self.shortcut: nn.Module | None = None
        if reduction.stride == 1:
            same = in_channels == row.channels
            self.shortcut = nn.Identity() if same else conv_norm(in_channels, row.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H / reduction, W / reduction)."""
        out = self.layers(x)
        return out if self.shortcut is None else out + self.shortcut(x)


class MobileNetV3(nn.Module):
    """MobileNetV3 small or large as a name describes it.

    Args:
        architecture: what :func:`sapool.networks.authors.parse_name` returned for one of the two.
        num_classes: outputs of the classifier.
    """

    def __init__(self, architecture: Architecture, num_classes: int) -> None:
        super().__init__()
        rows, last = _V3[architecture.backbone]
        layers, channels = _stem(architecture.prepool, 16, nn.Hardswish(inplace=True)), 16
        for row, reduction in zip(rows, architecture.stages, strict=True):
            layers.append(V3Bottleneck(channels, row, reduction))
            channels = row.channels
        width = channels * 6
        self.features = nn.Sequential(*layers, conv_norm(channels, width, 1), nn.Hardswish(inplace=True))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Sequential(linear(width, last), nn.Hardswish(inplace=True))
        self.classifier = linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores (N, num_classes) of images (N, 3, H, W)."""
        return self.classifier(self.head(self.pool(self.features(x)).flatten(1)))
