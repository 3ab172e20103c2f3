"""The poolings every network already uses, in the form of the others: ``in_channels`` first, then a window."""

from __future__ import annotations

from torch import nn

from sapool.layers.window import Pair, as_window


class MaxPool2d(nn.MaxPool2d):
    """Largest value of every window: (N, C, H, W) -> (N, C, Ho, Wo); ``in_channels`` is only there for uniformity."""

    def __init__(
        self,
        in_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
        *,
        dilation: int | Pair = 1,
    ) -> None:
        window = as_window("MaxPool2d", kernel_size, stride, padding, ceil_mode)
        super().__init__(window.kernel_size, window.stride, window.padding, dilation, ceil_mode=ceil_mode)
        self.in_channels = in_channels


class AvgPool2d(nn.AvgPool2d):
    """Mean of every window: (N, C, H, W) -> (N, C, Ho, Wo); ``in_channels`` is only there for uniformity."""

    def __init__(
        self,
        in_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
        *,
        count_include_pad: bool = True,
    ) -> None:
        window = as_window("AvgPool2d", kernel_size, stride, padding, ceil_mode)
        super().__init__(window.kernel_size, window.stride, window.padding, ceil_mode, count_include_pad)
        self.in_channels = in_channels


class StridedConv2d(nn.Conv2d):
    """A convolution as large as the window, C -> C: (N, C, H, W) -> (N, C, Ho, Wo).

    In a pooling plan ``strided`` is the network's own convolution at the plan's stride; this class is what stands
    where a network has a pool and no convolution to stride.

    Raises:
        ValueError: ``ceil_mode``, which a convolution does not have.
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
    ) -> None:
        if ceil_mode:
            raise ValueError("StridedConv2d: ceil_mode must be False: a convolution has no such rule")
        window = as_window("StridedConv2d", kernel_size, stride, padding, ceil_mode)
        super().__init__(in_channels, in_channels, window.kernel_size, window.stride, window.padding)
