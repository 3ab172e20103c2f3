from __future__ import annotations

import torch
from torch import nn

from sapool.pruning.stand_ins import PoolStandIn, StandIns
from tests.pruning.networks import network


def test_pools_step_aside_for_layers_of_the_same_shape_and_come_back() -> None:
    model = network(pool="self_attentive")
    pools = {name: module for name, module in model.named_modules() if type(module).__name__ == "SelfAttentivePool2d"}
    assert pools
    stand_ins = StandIns(model)
    assert set(stand_ins.names) == set(pools)
    x = torch.rand(1, 3, 32, 32)
    expected = model(x)
    with stand_ins.placed():
        assert all(isinstance(model.get_submodule(name), PoolStandIn) for name in pools)
        assert model(x).shape == expected.shape
        assert not any("attention" in name for name, _ in model.named_parameters())
    assert all(model.get_submodule(name) is pool for name, pool in pools.items())
    assert torch.equal(model(x), expected)


def test_only_pools_have_a_stand_in() -> None:
    conv = nn.Conv2d(3, 3, 1)
    stand_ins = StandIns(nn.Sequential(conv, nn.ReLU()))
    assert stand_ins.names == {}
    assert stand_ins.of(conv) is conv
