"""Keeping some channels of single layers: tensors get smaller, the layers' own numbers follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Side = str
"""``"in"`` or ``"out"``."""

Note = Callable[[nn.Module, Side, Sequence[int], int], None]
"""Is told which channels of a layer stay: the layer, its side, their places, and how many there were."""


def keep_entries(owner: nn.Module, name: str, keep: Sequence[int], dim: int = 0) -> None:
    """Keep some entries of a parameter or buffer along ``dim``; gradients follow, a missing tensor stays missing."""
    held: Tensor | None = getattr(owner, name)
    if held is None:
        return
    places = torch.as_tensor(list(keep), dtype=torch.long, device=held.device)
    kept = held.detach().index_select(dim, places)
    if not isinstance(held, nn.Parameter):
        setattr(owner, name, kept)
        return
    parameter = nn.Parameter(kept, requires_grad=held.requires_grad)
    if held.grad is not None:
        parameter.grad = held.grad.index_select(dim, places)
    setattr(owner, name, parameter)


class Trimmer:
    """Trims layers, and notes what stays of each."""

    def __init__(self, note: Note) -> None:
        self.note = note

    def outputs(self, layer: nn.Conv2d | nn.Linear, keep: Sequence[int]) -> None:
        """Keep some output channels of a convolution without groups, or of a linear layer."""
        self.note(layer, "out", keep, layer.weight.shape[0])
        keep_entries(layer, "weight", keep)
        keep_entries(layer, "bias", keep)
        setattr(layer, "out_channels" if isinstance(layer, nn.Conv2d) else "out_features", len(keep))

    def inputs(self, layer: nn.Conv2d | nn.Linear, keep: Sequence[int]) -> None:
        """Keep some input channels of a convolution without groups, or of a linear layer."""
        self.note(layer, "in", keep, layer.weight.shape[1])
        keep_entries(layer, "weight", keep, 1)
        setattr(layer, "in_channels" if isinstance(layer, nn.Conv2d) else "in_features", len(keep))

    def depthwise(self, conv: nn.Conv2d, keep: Sequence[int]) -> None:
        """Keep some channels of a convolution that filters each channel alone."""
        for side in ("in", "out"):
            self.note(conv, side, keep, conv.in_channels)
        keep_entries(conv, "weight", keep)
        keep_entries(conv, "bias", keep)
        conv.in_channels = conv.out_channels = conv.groups = len(keep)

    def norm(self, norm: nn.Module | None, keep: Sequence[int]) -> None:
        """Keep some channels of a BatchNorm, or of a GroupNorm with a group a channel; None stays None."""
        if norm is None:
            return
        for name in ("weight", "bias", "running_mean", "running_var"):
            if hasattr(norm, name):
                keep_entries(norm, name, keep)
        for name in ("num_features", "num_channels", "num_groups"):
            if hasattr(norm, name):
                setattr(norm, name, len(keep))


def strongest(scores: Tensor, count: int) -> list[int]:
    """Return the places of the ``count`` largest ``scores`` (n,), in rising order; of equal ones the first."""
    return sorted(torch.argsort(scores, descending=True, stable=True)[:count].tolist())
