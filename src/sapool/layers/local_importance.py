"""Local importance pooling: Gao, Wang, Wu, *LIP: Local Importance-based Pooling*, ICCV 2019."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from sapool.layers.attention import PatchBatchNorm2d
from sapool.layers.gate import LARGEST_GAIN
from sapool.layers.soft import WindowSoftmax
from sapool.layers.window import Pair, WindowPool2d, at_least_float


class InstanceNorm2d(nn.GroupNorm):
    """InstanceNorm with weights, in train and eval mode alike, for maps of one pixel, too."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise every channel of every image of ``x`` (N, C, H, W)."""
        # Not F.group_norm, which refuses one value a group.
        return torch.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class LocalImportancePool2d(WindowPool2d):
    """Average every window with weights ``exp(gain sigmoid(norm(conv(x))))``, normalised in the window.

    The defaults are the paper's: a 3x3 logit convolution that starts at zero (so that the layer starts as average
    pooling), InstanceNorm, and a gain of 12. Its window is 3x3 with stride 2 and padding 1; zeros around the map have
    no weight.

    Args:
        in_channels: C.
        kernel_size: pooling window, in pixels.
        stride: step of the window, in pixels; default ``kernel_size``.
        padding: pixels around the map.
        ceil_mode: as in ``nn.AvgPool2d``.
        logit_kernel_size: side of the logit's convolution, odd.
        logit_bias: whether that convolution has a bias.
        logit_channels: with a number, the logit is the paper's bottleneck for ResNets (128 there): 1x1 to that many
            channels, norm, ReLU, 3x3, norm, ReLU, 1x1 back to C, norm.
        norm: ``"instance"`` or ``"batch"``.
        gain: the largest weight is e^gain times the smallest.
        zero_init: whether the logit's last convolution starts at zero.

    Raises:
        ValueError: a value out of its range.
    """

    pads_count = False

    def __init__(
        self,
        in_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
        *,
        logit_kernel_size: int = 3,
        logit_bias: bool = False,
        logit_channels: int | None = None,
        norm: Literal["instance", "batch"] = "instance",
        gain: float = 12.0,
        zero_init: bool = True,
    ) -> None:
        super().__init__(in_channels, kernel_size, stride, padding, ceil_mode)
        self.check_at_least_one(logit_channels=1 if logit_channels is None else logit_channels)
        self.check_choice("norm", norm, ("instance", "batch"))
        if logit_kernel_size < 1 or logit_kernel_size % 2 == 0:
            raise ValueError(f"{self.label}: logit_kernel_size must be odd, got {logit_kernel_size}")
        if not 0 < gain <= LARGEST_GAIN:
            raise ValueError(f"{self.label}: gain must be over 0 and at most {LARGEST_GAIN:g}, got {gain}")
        self.gain = gain

        def step(inputs: int, outputs: int, side: int) -> list[nn.Module]:
            after = InstanceNorm2d(outputs) if norm == "instance" else PatchBatchNorm2d(outputs)
            return [nn.Conv2d(inputs, outputs, side, padding=side // 2, bias=logit_bias), after]

        if logit_channels is None:
            steps = step(in_channels, in_channels, logit_kernel_size)
        else:
            steps = [*step(in_channels, logit_channels, 1), nn.ReLU()]
            steps += [*step(logit_channels, logit_channels, logit_kernel_size), nn.ReLU()]
            steps += step(logit_channels, in_channels, 1)
        self.logit = nn.Sequential(*steps)
        self.softmax = WindowSoftmax(bound=gain)
        if zero_init and isinstance(last := self.logit[-2], nn.Conv2d):
            nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x`` (N, C, H, W) to (N, C, Ho, Wo)."""
        self.check_map(x)
        return self.softmax(x, self.gain * torch.sigmoid(at_least_float(self.logit(x))), self.window)


class PointwiseImportancePool2d(LocalImportancePool2d):
    """Local importance pooling as the authors of self-attentive pooling compare with it: weaker than its paper's.

    A 1x1 logit convolution with bias, BatchNorm, gain 1 and no zero initialisation. Takes the same keywords.
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
        **kwargs: Any,
    ) -> None:
        own: dict[str, Any] = {
            "logit_kernel_size": 1,
            "logit_bias": True,
            "norm": "batch",
            "gain": 1.0,
            "zero_init": False,
        }
        super().__init__(in_channels, kernel_size, stride, padding, ceil_mode, **(own | kwargs))
