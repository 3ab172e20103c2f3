from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from sapool.layers import SelfAttentivePool2d
from sapool.layers.cpu import banded
from tests.layers.oracle import randomize


def make(*args: Any, size: tuple[int, int] = (12, 12), **kwargs: Any) -> tuple[SelfAttentivePool2d, Tensor]:
    torch.manual_seed(0)
    pool = SelfAttentivePool2d(*args, **kwargs)
    randomize(pool)
    return pool, torch.randn(2, args[0], *size)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"patch_size": 1, "window_norm": True},
        {"patch_size": 1, "window_norm": True, "gain": 12.0, "embed_norm": False},
        {"patch_size": 2, "max_keys": 7},
        {"patch_size": 4, "max_keys": None, "position": None},
        {"patch_size": (3, 2), "max_keys": 20},
    ],
)
@pytest.mark.parametrize("size", [(48, 40), (47, 39), (30, 9), (13, 64)])
def test_bands_of_a_large_map_give_the_same(
    kwargs: dict[str, Any], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = (6, 2) if kwargs["patch_size"] == (3, 2) else 4 if kwargs["patch_size"] == 4 else 2
    pool, x = make(8, kernel, size=size, **kwargs)
    pool.eval()
    expected = pool(x).detach()
    monkeypatch.setattr(banded, "LARGE_MAP", 0)
    monkeypatch.setattr(banded, "BAND", 1)
    assert size[0] < 40 or len(banded._cuts(size[0], pool.patch_size[0], pool.window, 1, 1)) > 6
    with torch.no_grad():
        assert pool.runs_in_bands(x)
        torch.testing.assert_close(pool(x), expected, atol=1e-6, rtol=1e-5)
    assert not pool.runs_in_bands(x)  # gradients need the whole map


@pytest.mark.parametrize("change", ["hook", "training norm", "norm without statistics"])
def test_bands_are_not_used_where_they_would_show(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(banded, "LARGE_MAP", 0)
    pool, x = make(8, 2)
    pool.eval()
    with torch.no_grad():
        assert pool.runs_in_bands(x)
        if change == "hook":
            pool.attention.register_forward_hook(lambda m, i, out: out * 0)
        elif change == "training norm":
            assert pool.restore_norm is not None
            pool.restore_norm.train()
        else:
            torch.func.replace_all_batch_norm_modules_(pool)
        assert not pool.runs_in_bands(x)
