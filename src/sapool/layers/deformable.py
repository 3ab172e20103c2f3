"""Self-attentive pooling with deformed patches, and mixed with a local weight (the authors' ``dfmnlp`` and ``mixp``).

The authors' published sampler is shifted: with zero offsets it reads the map (1, 1) pixels off for p = 1, (-1, -1) for
p = 4 and (-3, -3) for p = 8, and counts the last row and column twice. Here zero offsets are the identity.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sapool.base.extras import require
from sapool.layers.attention import PatchBatchNorm2d
from sapool.layers.self_attentive import SelfAttentivePool2d
from sapool.layers.weighted import crop, upsample_nearest, weighted_average
from sapool.layers.window import Pair, at_least_float, eager_in_training


def reachable(offsets: Tensor, size: tuple[int, int]) -> Tensor:
    """Return offsets that a sampler of a map of ``size`` can take: in its memory there are no others.

    What is further from the map than any pixel stays beyond it, and what is no number becomes 0: the caller marks it.
    """
    reach = float(sum(size) + 2)
    return torch.nan_to_num(offsets, nan=0.0).clamp(-reach, reach)


def sample_at_offsets(values: Tensor, offsets: Tensor) -> Tensor:
    """Sample ``values`` bilinearly at every pixel plus its offset; beyond the map the border pixel counts.

    Args:
        values: (N, C, H, W).
        offsets: (N, 2, H, W): rows down, then columns right, in pixels.

    Returns:
        (N, C, H, W); ``values`` itself (to rounding) where the offsets are zero, or no numbers.
    """
    height, width = values.shape[2:]
    offsets = reachable(offsets, (height, width))
    rows = torch.arange(height, device=values.device, dtype=values.dtype)[None, :, None] + offsets[:, 0]
    columns = torch.arange(width, device=values.device, dtype=values.dtype)[None, None, :] + offsets[:, 1]
    # grid_sample's own coordinates: -1 and 1 are the middles of the first and the last pixel.
    grid = torch.stack((columns * (2 / max(width - 1, 1)) - 1, rows * (2 / max(height - 1, 1)) - 1), dim=3)
    return F.grid_sample(values, grid, mode="bilinear", padding_mode="border", align_corners=True)


# The weight itself is moved, so its logarithm is not there to be taken relative to a window's largest.
_FIXED = (("restoration", "nearest"), ("border", "pad"), ("embedding", "dense"), ("gate", "exp_sigmoid"))


class DeformableSelfAttentivePool2d(SelfAttentivePool2d):
    """Self-attentive pooling whose patches are sampled at learned offsets, and whose weights are moved back by them.

    ``D = Conv3x3(x)`` gives every pixel of a patch an offset; the patch embedding is a modulated deformable convolution
    at ``D``, and the full-resolution weight is resampled at ``-D``. Both 3x3 convolutions start at zero: the layer
    starts as :class:`SelfAttentivePool2d` with an embedding halved by ``sigmoid(0)``.

    Takes the arguments of :class:`SelfAttentivePool2d`, but for ``restoration`` ("nearest"), ``border`` ("pad"),
    ``embedding`` ("dense") and ``gate`` ("exp_sigmoid"). Needs torchvision. Since the moved weights vary inside a
    patch, no patch size collapses.

    Raises:
        ValueError: a value out of its range.
        ImportError: torchvision is not installed.
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
        *,
        patch_size: int | Pair | None = None,
        **kwargs: Any,
    ) -> None:
        for name, only in _FIXED:
            self.check_choice(name, kwargs.get(name, only), (only,))
        require("torchvision.ops", "train", self.label)  # said now, not at the first image
        super().__init__(in_channels, kernel_size, stride, padding, ceil_mode, patch_size=patch_size, **kwargs)
        samples = math.prod(self.patch_size)
        self.offset = nn.Conv2d(in_channels, 2 * samples, 3, self.patch_size, 1)
        self.modulation = nn.Conv2d(in_channels, samples, 3, self.patch_size, 1)
        for conv in (self.offset, self.modulation):
            nn.init.zeros_(conv.weight)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)

    @property
    def _grain(self) -> Pair:
        return (1, 1)

    def _sample_patches(self, x: Tensor, offsets: Tensor) -> Tensor:
        """Embed ``x`` (N, C, H, W), patches moved by ``offsets`` (N, 2 p^2, h, w): (N, E, h, w)."""
        from torchvision.ops import deform_conv2d

        conv = self.embed
        assert isinstance(conv, nn.Conv2d)
        mask = torch.sigmoid(self.modulation(x))
        # In float32: torchvision has no half precision on a CPU, and half a pixel's fraction is lost in bfloat16.
        near = reachable(offsets, (x.shape[2], x.shape[3]))
        wide = [None if t is None else at_least_float(t) for t in (x, near, conv.weight, conv.bias, mask)]
        sampled = deform_conv2d(*wide[:4], stride=self.patch_size, mask=wide[4])
        lost = ~torch.isfinite(offsets).all(1, keepdim=True)
        return sampled.masked_fill(lost, math.nan).to(x.dtype)

    def _per_pixel(self, offsets: Tensor) -> Tensor:
        """Bring offsets (N, 2 p^2, h, w), pairs sample by sample, to the pixels they belong to: (N, 2, H, W)."""
        (p, q), (n, _, h, w) = self.patch_size, offsets.shape
        return offsets.view(n, p, q, 2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, 2, h * p, w * q)

    def _moved_weight(self, x: Tensor) -> Tensor:
        """Return the weight of every pixel of ``x`` (N, C, H, W), in the same shape."""
        padded = self.pad_to_patches(x)
        offsets = self.offset(padded)
        tokens = self._tokens(self._sample_patches(padded, offsets))
        weight = self.weigh(self._restore(self.attention(tokens), math.prod(self.patch_size)))
        full = upsample_nearest(weight, self.patch_size, (padded.shape[2], padded.shape[3]))
        moved = sample_at_offsets(full, -self._per_pixel(offsets).to(full.dtype))
        return crop(moved, (x.shape[2], x.shape[3]))

    @eager_in_training
    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x`` (N, C, H, W) to (N, C, Ho, Wo)."""
        self.check_map(x)
        return weighted_average(x, self._moved_weight(x), self.window)


class MixedSelfAttentivePool2d(DeformableSelfAttentivePool2d):
    """:class:`DeformableSelfAttentivePool2d` with its weight multiplied by a local one.

    ``w = exp(sigmoid(BN(Conv_p(x)))) w_deformable``, the convolution p x p at stride 1, as large as the map (for an
    even p the extra row and column of zeros are below and to the right).
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
        *,
        patch_size: int | Pair | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_channels, kernel_size, stride, padding, ceil_mode, patch_size=patch_size, **kwargs)
        self.local = nn.Conv2d(in_channels, in_channels, self.patch_size)
        self.local_norm = PatchBatchNorm2d(in_channels)
        if kwargs.get("init", "average") == "average":
            nn.init.zeros_(self.local_norm.weight)

    def _moved_weight(self, x: Tensor) -> Tensor:
        p, q = self.patch_size
        padded = F.pad(x, ((q - 1) // 2, q // 2, (p - 1) // 2, p // 2))
        local = torch.exp(torch.sigmoid(self.local_norm(self.local(padded))))
        return local * super()._moved_weight(x)
