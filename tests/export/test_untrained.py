from __future__ import annotations

import torch
from torch import nn

from sapool.export import randomize_norms


def test_only_norms_change_and_the_seed_decides_how() -> None:
    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Linear(8, 2), nn.BatchNorm1d(2, affine=False))

    plain, one, same, other = network(), *(randomize_norms(network(), seed) for seed in (1, 1, 2))
    for name, before in plain.state_dict().items():
        a, b, c = (model.state_dict()[name] for model in (one, same, other))
        assert torch.equal(a, b)
        drawn = name.startswith(("1.", "3.")) and not name.endswith("num_batches_tracked")
        assert torch.equal(a, before) is not drawn
        assert torch.equal(a, c) is not drawn
    state = one.state_dict()
    assert all(bool((state[f"1.{name}"] >= 0.5).all()) for name in ("weight", "running_var"))
    assert bool((state["1.bias"].abs() <= 0.5).all())
