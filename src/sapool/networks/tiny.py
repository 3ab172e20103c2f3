"""``sapool:tiny``: a handful of inverted residuals (MobileNetV2: Sandler et al., CVPR 2018) two cores can train.

``sapool:tiny_050`` and its like have that share of its channels, in per cent.
"""

from __future__ import annotations

from torch import Tensor, nn


def conv_norm(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias, then BatchNorm: (N, C, H, W) -> (N, C', H / stride, W / stride)."""
    padding = kernel_size // 2
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


class InvertedResidual(nn.Module):
    """Expand, filter by depth, project; the input is added where stride and channels allow it."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.residual = stride == 1 and in_channels == out_channels
        self.expand = conv_norm(in_channels, hidden, 1)
        self.act1 = nn.ReLU6()
        self.depthwise = conv_norm(hidden, hidden, 3, stride, groups=hidden)
        self.act2 = nn.ReLU6()
        self.project = conv_norm(hidden, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H / stride, W / stride)."""
        out = self.project(self.act2(self.depthwise(self.act1(self.expand(x)))))
        return x + out if self.residual else out


class TinyNet(nn.Module):
    """Stem and five inverted residuals, three of which halve the map; 1x1 head, average, classifier.

    Args:
        num_classes: classes.
        in_channels: channels of the image.
        width: multiplies every channel count, rounded to a multiple of 4.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        stem, early, middle, late, head = (max(4, round(width * full / 4) * 4) for full in (16, 24, 40, 64, 128))
        self.stem = conv_norm(in_channels, stem, 3, stride=2)
        self.act = nn.ReLU6()
        self.blocks = nn.Sequential(
            InvertedResidual(stem, early, 2, 3),
            InvertedResidual(early, early, 1, 3),
            InvertedResidual(early, middle, 2, 3),
            InvertedResidual(middle, middle, 1, 3),
            InvertedResidual(middle, late, 2, 3),
        )
        self.head = conv_norm(late, head, 1)
        self.head_act = nn.ReLU6()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(head, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores (N, num_classes) of images (N, C, H, W)."""
        x = self.blocks(self.act(self.stem(x)))
        return self.classifier(self.pool(self.head_act(self.head(x))).flatten(1))
