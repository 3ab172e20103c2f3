"""Haar wavelet down-sampling (HWD): Xu et al., Pattern Recognition 143 (2023), 109819."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sapool.layers.attention import PatchBatchNorm2d
from sapool.layers.space_to_depth import check_square_tiles
from sapool.layers.window import Pair, Window, WindowPool2d, rectify

_QUAD = Window((2, 2), (2, 2))


def haar_bands(x: Tensor) -> Tensor:
    """One level of the orthonormal Haar transform: (N, C, H, W) -> (N, 4 C, H // 2, W // 2), LL, LH, HL, HH.

    The first letter says whether the two columns are summed (L) or subtracted (H), the second the same of the rows.
    Each band has all C channels.
    """
    # Halved before it is summed, so that a half-precision sum cannot overflow where the band itself would not.
    top_left, top_right, low_left, low_right = _QUAD.samples(0.5 * x)
    top, top_change = top_left + top_right, top_left - top_right
    low, low_change = low_left + low_right, low_left - low_right
    return torch.cat((top + low, top - low, top_change + low_change, top_change - low_change), dim=1)


class HaarPool2d(WindowPool2d):
    """Turn every s x s window into its s^2 Haar bands, then mix the bands by a 1x1 convolution.

    ``y = ReLU(BN(Conv_1x1(haar(x))))``. The transform is orthonormal, so nothing is lost before the convolution. For
    s = 4, 8, ... it is applied again to every band (the full wavelet packet).

    Args:
        in_channels: C.
        kernel_size: s, a power of two, at least 2.
        stride: the kernel_size; nothing else.
        padding: 0; nothing else.
        ceil_mode: False; nothing else.
        norm: BatchNorm and ReLU after the convolution, as in the paper; ``False`` leaves both out.

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
        norm: bool = True,
    ) -> None:
        super().__init__(in_channels, kernel_size, stride, padding, ceil_mode)
        check_square_tiles(self.label, self.window)
        side = self.window.kernel_size[0]
        if side < 2 or side & (side - 1):
            raise ValueError(
                f"{self.label}: kernel_size must be a power of two and at least 2, because a Haar level halves the "
                f"map, got {side}"
            )
        self.levels = side.bit_length() - 1
        self.mix = nn.Conv2d(in_channels * self.window.area, in_channels, 1)
        self.mix_norm = PatchBatchNorm2d(in_channels) if norm else None

    def transform(self, x: Tensor) -> Tensor:
        """Return the bands of ``x`` (N, C, H, W): (N, s^2 C, H // s, W // s), the C smooth ones first."""
        bands = self.window.pad(x)
        for _ in range(self.levels):
            bands = haar_bands(bands)
        return bands

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x`` (N, C, H, W) to (N, C, H // s, W // s); what fills no window is dropped, as max pooling does.

        Raises:
            ValueError: another number of channels, a map smaller than the window, or, in training with ``norm``, a
                batch with one value a channel.
        """
        self.check_map(x)
        y = self.mix(self.transform(x))
        return y if self.mix_norm is None else rectify(self.mix_norm(y))
