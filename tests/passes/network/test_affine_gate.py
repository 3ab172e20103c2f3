from __future__ import annotations

import torch

from sapool.passes.network.affine_gate import BOUND, SHIFT, SLOPE


def test_the_gates_bound_holds_everywhere() -> None:
    z = torch.linspace(-60, 60, 2_000_001, dtype=torch.float64)
    near = 1 + (torch.e - 1) * torch.sigmoid(SLOPE * z + SHIFT)
    assert (near - torch.exp(torch.sigmoid(z))).abs().max() < BOUND
