"""Strided padding folded into a larger kernel, so that no PAD operator copies the map.

Where TensorFlow's SAME rule would pad differently from PyTorch (stride 2, odd kernel k, even map), a kernel of k + 1
whose last row and column are zero, under SAME, is the same convolution: ``sum_i w_i x_{si-p+i}`` does not change when a
zero w_k is added, and with k' = s + 2p SAME pads p in front. Exact. MACs grow by (k' / k)^2; they are counted.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from sapool.layers import as_pair
from sapool.passes.network._modules import modules_of, record_inputs
from sapool.tflite.padding import folded_kernel


def fold_padding(model: nn.Module, images: Tensor) -> int:
    """Enlarge the kernel of every strided convolution that would need a PAD operator; returns how many."""
    inputs = record_inputs(model, images, nn.Conv2d)
    folded = 0
    for name, conv in modules_of(model, nn.Conv2d):
        calls = inputs.get(name, [])
        if type(conv) is nn.Conv2d and len(calls) == 1 and _is_plain(conv):
            (shape, *_) = calls[0]
            folded += _enlarge(conv, (shape[2], shape[3]))
    return folded


def _is_plain(conv: nn.Conv2d) -> bool:
    return not isinstance(conv.padding, str) and conv.padding_mode == "zeros" and set(conv.dilation) == {1}


def _enlarge(conv: nn.Conv2d, size: tuple[int, int]) -> bool:
    """Append zero rows and columns to the kernel, where that saves a PAD."""
    kernel, stride, padding = as_pair(conv.kernel_size), as_pair(conv.stride), as_pair(conv.padding)  # type: ignore[arg-type]  # no text: see _is_plain
    larger = folded_kernel(size, kernel, stride, padding)
    if larger is None:
        return False
    extra = (0, larger[1] - kernel[1], 0, larger[0] - kernel[0])
    conv.weight = nn.Parameter(F.pad(conv.weight, extra), requires_grad=False)
    conv.kernel_size = larger
    return True
