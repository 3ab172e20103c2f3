from __future__ import annotations

import warnings

import pytest

from sapool.layers import TokenAttention
from sapool.passes import apply_passes
from tests.conftest import images, pooled_net


def test_keys_over_the_cap_are_averaged_down_with_a_warning() -> None:
    model = pooled_net(patch_size=1, window_norm=True, max_keys=None)
    x = images(1, 48)
    with pytest.warns(UserWarning, match=r"pool\.attention attends to 576 keys; int8 soft-max can bear 256"):
        assert apply_passes(model, x, ["cap_keys"]) == ("cap_keys",)
    attention = model.get_submodule("pool.attention")
    assert isinstance(attention, TokenAttention)
    assert attention.max_keys == 256
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert apply_passes(pooled_net(max_keys=None), images(1), ["cap_keys"]) == ()
