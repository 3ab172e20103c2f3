"""Weights that are numbers: a file of others exports, and computes nonsense."""

from __future__ import annotations

import itertools

import torch
from torch import nn


def why_not_finite(model: nn.Module) -> str | None:
    """Return one line that names the first weight, or statistic of a norm, that is NaN or infinite, or None."""
    statistics = ((name, b) for name, b in model.named_buffers() if name.endswith(("running_mean", "running_var")))
    for name, tensor in itertools.chain(model.named_parameters(), statistics):
        wrong = int((~torch.isfinite(tensor)).sum())
        if wrong:
            return (
                f"{name} must be finite, got {wrong:,} of {tensor.numel():,} values NaN or infinite: the training has "
                "diverged, or the weights are damaged; export an earlier checkpoint"
            )
    return None
