"""exp(sigmoid(z)) as one affine sigmoid: TensorFlow Lite Micro has no int8 EXP.

``exp(sigmoid(z))`` is within 0.0027 of ``1 + (e - 1) sigmoid(1.02 z - 0.5)``, under half an int8 step of its range
(1, e). The slope and the shift go into the normalisation in front. Near, not exact: the bound is tested.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sapool.layers import SelfAttentivePool2d
from sapool.layers.gate import WeightGate
from sapool.passes.network._modules import modules_of

SLOPE, SHIFT = 1.02, -0.5
BOUND = 0.0027


class AffineGate(nn.Module):
    """What int8 runtimes have operators for: 1 + (e - 1) sigmoid(z)."""

    def forward(self, logit: Tensor) -> Tensor:
        """Return the weight, between 1 and e and of the shape of ``logit``."""
        return 1 + (math.e - 1) * torch.sigmoid(logit)


def use_affine_gate(model: nn.Module, images: Tensor) -> int:
    """Replace the gate of every self-attentive pool; returns how many."""
    changed = 0
    for _, pool in modules_of(model, SelfAttentivePool2d):
        gate = pool.weigh
        # Another gain is another curve; normalised, it becomes a soft-max in the window instead.
        plain = isinstance(gate, WeightGate) and gate.kind == "exp_sigmoid" and gate.gain == 1
        if plain and pool.combine != "context":
            last = pool.restore if pool.restore_norm is None else pool.restore_norm
            assert last.bias is not None
            with torch.no_grad():
                last.weight.mul_(SLOPE)
                last.bias.mul_(SLOPE).add_(SHIFT)
            pool.add_module("weigh", AffineGate())
            changed += 1
    return changed
