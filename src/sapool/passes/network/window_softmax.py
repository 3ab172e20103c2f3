"""Weights with a large range as a soft-max inside every window: int8 has neither EXP nor the range for a quotient.

``sum(e^z x) / sum(e^z)`` over a window is ``sum(softmax(z) x)``. A depthwise convolution with one-hot kernels lays the
k^2 pixels of every window side by side (every value is multiplied by one and added to zeros), so SOFTMAX over the last
axis and a BATCH_MATMUL do the rest (int8 SUM rounds differently in TFLM and LiteRT, by up to 84 steps; the product does
not). Exact, but for the zeros around a padded map, whose weight is e^-8 of the smallest seen on the images given (of
the smallest there is, where logits are bounded) instead of nothing: less than half a step of int8 SOFTMAX, 1/256.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sapool.layers import Window, WindowSoftmax
from sapool.passes.network._modules import record_inputs, replace_module

# Logit of the pixels outside the map, below the smallest one inside.
PAD_BELOW = 8.0


class WindowSoftmaxByConvolution(nn.Module):
    """:class:`sapool.layers.WindowSoftmax` for one window, with operators that int8 runtimes have."""

    def __init__(self, channels: int, window: Window, pad_logit: float) -> None:
        super().__init__()
        self.window, self.pad_logit = window, pad_logit
        one_hot = torch.eye(window.area).view(window.area, 1, *window.kernel_size)
        self.one_hot = nn.Parameter(one_hot.repeat(channels, 1, 1, 1), requires_grad=False)

    def _windows(self, x: Tensor, fill: float) -> Tensor:
        """(N, C, H, W) -> (N, Ho Wo, C, kh kw)."""
        x = self.window.pad(x, fill)
        laid = F.conv2d(x, self.one_hot, None, self.window.stride, groups=x.shape[1])
        return laid.permute(0, 2, 3, 1).reshape(x.shape[0], -1, x.shape[1], self.window.area)

    def forward(self, values: Tensor, logits: Tensor, window: Window) -> Tensor:
        """Pool ``values`` with ``logits``, both (N, C, H, W), to (N, C, Ho, Wo)."""
        rows, columns = self.window.output_size(values.shape[2], values.shape[3])
        shares = torch.softmax(self._windows(logits, self.pad_logit), dim=-1)
        pooled = shares.unsqueeze(-2) @ self._windows(values, 0.0).unsqueeze(-1)
        return pooled.view(values.shape[0], rows, columns, values.shape[1]).permute(0, 3, 1, 2)


def use_window_softmax(model: nn.Module, images: Tensor) -> int:
    """Replace every window soft-max that is asked for one window only; returns how many."""
    changed = 0
    for name, calls in record_inputs(model, images, WindowSoftmax, _call).items():
        asked = {(channels, window) for channels, window, _ in calls}
        if len(asked) == 1:
            pad_logit = min(least for _, _, least in calls) - PAD_BELOW
            replace_module(model, name, WindowSoftmaxByConvolution(*asked.pop(), pad_logit))
            changed += 1
    return changed


def _call(softmax: WindowSoftmax, args: tuple[Tensor, Tensor, Window]) -> tuple[int, Window, float]:
    """Return channels, window and the smallest logit there can be (where they are unbounded, that was seen)."""
    values, logits, window = args
    return values.shape[1], window, 0.0 if softmax.bound is not None else float(logits.min())
