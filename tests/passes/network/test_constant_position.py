from __future__ import annotations

import torch

from sapool.layers import LearnedPosition2d, SelfAttentivePool2d
from sapool.passes.network.constant_position import ConstantPosition, freeze_positions
from tests.conftest import PooledNet, images, pooled_net


def test_the_map_of_the_one_size_asked_for_is_kept() -> None:
    model = pooled_net()
    position = model.get_submodule("pool.position")
    assert isinstance(position, LearnedPosition2d)
    expected = position(4, 4)
    assert freeze_positions(model, images(1)) == 1
    frozen = model.get_submodule("pool.position")
    assert isinstance(frozen, ConstantPosition)
    assert torch.equal(frozen(4, 4), expected)
    assert not frozen.table.requires_grad


def test_without_a_position_or_a_call_nothing_changes() -> None:
    assert freeze_positions(pooled_net(position=None), images(1)) == 0
    model = PooledNet(SelfAttentivePool2d(8, 2, patch_size=4))
    model.pool = torch.nn.Sequential(model.pool)
    model.pool.forward = lambda x: x  # type: ignore[method-assign]
    assert freeze_positions(model, images(1)) == 0
