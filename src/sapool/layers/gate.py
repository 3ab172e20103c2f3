"""From a logit to the weight of a pixel."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Gate = Literal["exp_sigmoid", "exp", "sigmoid"]

# exp(80) and exp(-80) are float32 numbers.
LARGEST_GAIN = 80.0


class WeightGate(nn.Module):
    """``"exp_sigmoid"``: exp(gain sigmoid(z)); ``"exp"``: exp(z); ``"sigmoid"``: sigmoid(z).

    Args:
        kind: which of the three.
        gain: bound of the logit of ``"exp_sigmoid"``.
    """

    def __init__(self, kind: Gate, gain: float = 1.0) -> None:
        super().__init__()
        self.kind, self.gain = kind, gain

    def log_weight(self, logit: Tensor) -> Tensor:
        """Return the weight's logarithm, of the shape of ``logit``."""
        if self.kind == "exp":
            return logit
        if self.kind == "sigmoid":
            return F.logsigmoid(logit)
        return torch.sigmoid(logit) if self.gain == 1 else self.gain * torch.sigmoid(logit)

    def forward(self, logit: Tensor) -> Tensor:
        """Return the weight, over zero and of the shape of ``logit``."""
        return torch.sigmoid(logit) if self.kind == "sigmoid" else torch.exp(self.log_weight(logit))

    def extra_repr(self) -> str:
        """Return the kind, for ``print(module)``."""
        return self.kind
