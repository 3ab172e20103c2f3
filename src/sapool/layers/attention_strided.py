"""Attention, then a strided convolution: the `attnpool` of Chen, Datta, Kundu and Beerel (WACV 2023, their code)."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from sapool.base.tflm_limits import MOST_KEYS
from sapool.layers.attention import LearnedPosition2d, PatchBatchNorm2d, TokenAttention, embedding_width
from sapool.layers.window import Pair, WindowPool2d, eager_in_training, rectify


class AttentionStridedPool2d(WindowPool2d):
    """Self-attention over every pixel, reduced by a convolution as large as the window.

    ``y = ReLU(BN(Conv_{k, stride s}(MHA(ReLU(BN(Conv_1x1(x))) + position))))``. Unlike in
    ``SelfAttentivePool2d`` the attended map is the output's source: it does not weigh x, and y >= 0.

    Args:
        in_channels: C.
        kernel_size: pooling window, in pixels.
        stride: step of the window, in pixels; default ``kernel_size``.
        padding: zeros around the attended map, in pixels.
        ceil_mode: whether a last window that reaches over the edge counts; what is outside is zeros.
        num_heads: attention heads.
        embed_ratio: r in E = max(1, round(r C / heads)) heads.
        max_keys: average keys and values down to at most this many; ``None`` keeps all.
        position: ``"learned"`` or ``None``.
        position_size: entries of the position tables, in pixels; longer maps interpolate them.

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
        num_heads: int = 2,
        embed_ratio: float = 1.0,
        max_keys: int | None = MOST_KEYS,
        position: Literal["learned"] | None = "learned",
        position_size: int = 64,
    ) -> None:
        super().__init__(in_channels, kernel_size, stride, padding, ceil_mode)
        keys = 1 if max_keys is None else max_keys
        self.check_at_least_one(num_heads=num_heads, max_keys=keys, position_size=position_size)
        if not embed_ratio > 0:
            raise ValueError(f"{self.label}: embed_ratio must be positive, got {embed_ratio}")
        self.check_choice("position", position, ("learned", None))
        embed_dim = embedding_width(in_channels, num_heads, embed_ratio)
        self.embed = nn.Conv2d(in_channels, embed_dim, 1)
        self.embed_norm = PatchBatchNorm2d(embed_dim)
        self.position = LearnedPosition2d(embed_dim, position_size) if position == "learned" else None
        self.attention = TokenAttention(embed_dim, num_heads, max_keys)
        # With ceil_mode the map is padded before the convolution: it has no rule for a last window over the edge.
        inside = (0, 0) if ceil_mode else self.window.padding
        self.reduce = nn.Conv2d(embed_dim, in_channels, self.window.kernel_size, self.window.stride, inside)
        self.reduce_norm = PatchBatchNorm2d(in_channels)

    @eager_in_training
    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x`` (N, C, H, W) to (N, C, Ho, Wo), as large as ``nn.MaxPool2d`` makes it.

        Raises:
            ValueError: another number of channels, a map smaller than the window, or, in training, a batch with one
                value a channel.
        """
        self.check_map(x)
        tokens = F.relu(self.embed_norm(self.embed(x)))
        if self.position is not None:
            tokens = tokens + self.position(tokens.shape[2], tokens.shape[3])
        attended = self.attention(tokens)
        if self.window.ceil_mode:
            attended = self.window.pad(attended)
        return rectify(self.reduce_norm(self.reduce(attended)))
