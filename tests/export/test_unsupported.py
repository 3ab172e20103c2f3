from __future__ import annotations

import pytest
from torch import nn

from sapool.export.unsupported import why_unsupported
from sapool.layers import create_pool, list_pools

CANNOT = {"lp": "no POW", "deformable_self_attentive": "samples a map", "mixed_self_attentive": "samples a map"}


@pytest.mark.parametrize("pool", list_pools())
def test_the_first_pooling_without_a_form_is_named(pool: str) -> None:
    reason = why_unsupported(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Sequential(create_pool(pool, 8, 2))))
    if pool not in CANNOT:
        assert reason is None
    else:
        assert reason is not None
        assert reason.split(" has no int8 form")[0].endswith(" '1.0'")
        assert CANNOT[pool] in reason
