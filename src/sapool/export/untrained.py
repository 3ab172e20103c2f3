"""Measuring a network before it is trained."""

from __future__ import annotations

import torch
from torch import nn


def randomize_norms(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every BatchNorm of ``model`` (changed in place) random statistics and weights, as training would.

    A BatchNorm whose weight starts at zero lets the converter fold a whole residual branch away, and the arena would
    be measured without it; one that is still the identity may be folded as well.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if not isinstance(module, nn.modules.batchnorm._BatchNorm):
                continue
            for low, high, tensor in (
                (0.5, 1.5, module.weight),
                (-0.5, 0.5, module.bias),
                (-0.5, 0.5, module.running_mean),
                (0.5, 1.5, module.running_var),
            ):
                if tensor is not None:
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) * (high - low) + low)
    return model
