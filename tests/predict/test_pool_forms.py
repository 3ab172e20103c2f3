from __future__ import annotations

import pytest
import torch

from sapool.layers import create_pool, list_pools
from sapool.predict.pool_forms import deploy_pool


@pytest.mark.parametrize("name", list_pools())
def test_the_exported_form_has_the_pools_shape_and_the_pool_stays(name: str) -> None:
    pool = create_pool(name, 8, 2).eval()
    before = repr(pool)
    form = deploy_pool(pool, torch.empty(1, 8, 16, 12))
    made = form.to_empty(device="cpu")(torch.rand(1, 8, 16, 12))
    assert made.shape == pool(torch.rand(1, 8, 16, 12)).shape
    assert repr(pool) == before


def test_the_passes_are_in_it() -> None:
    pool = create_pool("self_attentive", 8, 2, patch_size=4)
    kinds = {type(module).__name__ for module in deploy_pool(pool, torch.empty(1, 8, 16, 16)).modules()}
    assert "ConstantPosition" in kinds
    plain = {type(module).__name__ for module in deploy_pool(pool, torch.empty(1, 8, 16, 16), ()).modules()}
    assert "LearnedPosition2d" in plain
