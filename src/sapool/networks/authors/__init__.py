"""The networks of "Self-Attentive Pooling for Efficient Deep Learning" (WACV 2023) by their authors' names."""

from __future__ import annotations

from torch import nn

from sapool.networks.authors.mobilenet import MobileNetV2, MobileNetV3
from sapool.networks.authors.names import Architecture, Reduction, parse_name
from sapool.networks.authors.pools import authors_pool, from_authors
from sapool.networks.authors.resnet import ResNet

__all__ = ["Architecture", "Reduction", "authors_pool", "build", "from_authors", "parse_name"]


def build(name: str, num_classes: int) -> nn.Module:
    """Build one of the authors' networks, untrained.

    Args:
        name: ``[prepool-POOL-STRIDE-]BACKBONE-POOL-STRIDES``, as in ``resnet18-nlp_headfix2-1222``.
        num_classes: outputs of its classifier.

    Returns:
        The network: images (N, 3, H, W) -> scores (N, num_classes), in train mode.

    Raises:
        ValueError: a name that :func:`parse_name` refuses, or ``num_classes`` under 1.

    Warns:
        CollapseWarning: a pool of that network is average pooling, whatever its parameters.
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    architecture = parse_name(name)
    if architecture.backbone.startswith("mobilenetv3"):
        return MobileNetV3(architecture, num_classes)
    if architecture.backbone.startswith("mobilenet"):
        return MobileNetV2(architecture, num_classes)
    return ResNet(architecture, num_classes)
