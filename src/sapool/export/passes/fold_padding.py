"""Strided padding folded into a larger kernel, so that no PAD operator copies the map.

Where TensorFlow's SAME rule would pad differently from PyTorch (stride 2, odd kernel k, even map), a kernel of k + 1
whose last row and column are zero, under SAME, is the same convolution: ``sum_i w_i x_{si-p+i}`` does not change when a
zero w_k is added, and with k' = s + 2p SAME pads p in front. Exact. MACs grow by (k' / k)^2; they are counted.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from sapool.export.passes._modules import modules_of, record_inputs


def fold_padding(model: nn.Module, images: Tensor) -> int:
    """Enlarge the kernel of every strided convolution that would need a PAD operator; returns how many."""
    inputs = record_inputs(model, images, nn.Conv2d)
    folded = 0
    for name, conv in modules_of(model, nn.Conv2d):
        calls = inputs.get(name, [])
        if type(conv) is nn.Conv2d and len(calls) == 1 and _needs_pad(conv, calls[0][0][2:]):
            folded += _enlarge(conv, calls[0][0][2:])
    return folded


def _needs_pad(conv: nn.Conv2d, size: tuple[int, int]) -> bool:
    if isinstance(conv.padding, str) or conv.padding_mode != "zeros" or set(conv.dilation) != {1}:
        return False
    if max(conv.stride) == 1 or max(conv.padding) == 0:
        return False
    sides = zip(size, conv.kernel_size, conv.stride, conv.padding, strict=True)
    return any(_same_padding_before(n, k, s) != p or (n + 2 * p - k) // s + 1 != -(-n // s) for n, k, s, p in sides)


def _same_padding_before(size: int, kernel: int, stride: int) -> int:
    """Return how much TensorFlow's SAME rule pads in front of a side."""
    return max((-(-size // stride) - 1) * stride + kernel - size, 0) // 2


def _enlarge(conv: nn.Conv2d, size: tuple[int, int]) -> bool:
    """Append zero rows and columns to the kernel, if the output keeps its size with them."""
    larger = []
    for n, k, s, p in zip(size, conv.kernel_size, conv.stride, (int(p) for p in conv.padding), strict=True):
        side = s + 2 * p
        if side < k or (n + 2 * p - side) // s != (n + 2 * p - k) // s:
            return False
        larger.append(side)
    extra = (0, larger[1] - conv.kernel_size[1], 0, larger[0] - conv.kernel_size[0])
    conv.weight = nn.Parameter(F.pad(conv.weight, extra), requires_grad=False)
    conv.kernel_size = (larger[0], larger[1])
    return True
