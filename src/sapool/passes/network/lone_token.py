"""Attention over a single token is that token's value.

The soft-max of one score is 1, so ``A V Wo = (x Wv + bv) Wo + bo``: one 1x1 convolution, exact up to rounding. Left as
it is, the converter writes the soft-max as a difference that is always zero, whose int8 scale is zero too: TensorFlow
Lite Micro aborts on it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sapool.layers import TokenAttention
from sapool.passes.network._modules import modules_of, record_inputs, replace_module


def _value_only(attention: TokenAttention) -> nn.Conv2d:
    """Return (N, E, 1, 1) -> (N, E, 1, 1): the value map, then the output map."""
    value, project = attention.value, attention.project
    convolution = nn.Conv2d(value.in_features, project.out_features, 1).to(value.weight)
    with torch.no_grad():
        convolution.weight.copy_((project.weight @ value.weight)[:, :, None, None])
        bias = project.weight @ value.bias + project.bias
    convolution.bias = nn.Parameter(bias)
    return convolution


def keep_lone_values(model: nn.Module, images: Tensor) -> int:
    """Replace every attention that only ever sees one token by its value; returns how many."""
    inputs = record_inputs(model, images, TokenAttention)
    changed = 0
    for name, attention in modules_of(model, TokenAttention):
        shapes = [shape for (shape,) in inputs.get(name, [])]
        if shapes and all(shape[2] * shape[3] == 1 for shape in shapes):
            replace_module(model, name, _value_only(attention))
            changed += 1
    return changed
