"""What all of the authors' networks are made of."""

from __future__ import annotations

from torch import nn

from sapool.networks.authors.names import Reduction
from sapool.networks.authors.pools import authors_pool


def conv_norm(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias, then BatchNorm: (N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride))."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def pool_layers(reduction: Reduction, channels: int) -> list[nn.Module]:
    """Return the pool that stands at ``reduction`` as a list of one, or an empty list where none does."""
    if not reduction.is_pool:
        return []
    pool = authors_pool(
        reduction.pool,
        channels,
        reduction.stride,
        patch_size=reduction.patch_size,
        num_heads=reduction.num_heads,
        embed_ratio=reduction.embed_ratio,
        window_norm=reduction.window_norm,
    )
    return [pool]


def linear(in_features: int, out_features: int) -> nn.Linear:
    """Return a linear layer that starts as MobileNet's classifiers do (normal, 0.01; no bias)."""
    layer = nn.Linear(in_features, out_features)
    nn.init.normal_(layer.weight, 0, 0.01)
    nn.init.zeros_(layer.bias)
    return layer
