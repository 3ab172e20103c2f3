from __future__ import annotations

import pytest
import torch
from torch import nn

from sapool.passes import apply_passes


@pytest.mark.parametrize("size", [16, 17, 31, 32])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 2, 1), (5, 2, 2), (7, 2, 3), (3, 4, 1), (1, 2, 0), (4, 2, 1)]
)
def test_folding_is_exact_for_every_size(kernel: int, stride: int, padding: int, size: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, kernel, stride, padding)).eval()
    x = torch.randn(2, 3, size, size)
    expected = model(x)
    apply_passes(model, x, ["fold_padding"])
    torch.testing.assert_close(model(x), expected, atol=1e-6, rtol=1e-6)


def test_folding_leaves_alone_what_same_padding_does_already() -> None:
    odd = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1)).eval()
    assert apply_passes(odd, torch.rand(1, 3, 17, 17), ["fold_padding"]) == ()
    reflected = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, padding_mode="reflect")).eval()
    assert apply_passes(reflected, torch.rand(1, 3, 16, 16), ["fold_padding"]) == ()
