from __future__ import annotations

import pytest
import torch
from torch import nn

from sapool.layers import create_pool


def test_max_and_average_are_torchs() -> None:
    x = torch.randn(2, 6, 9, 8)
    torch.testing.assert_close(create_pool("max", 6, 3, 2, 1)(x), nn.MaxPool2d(3, 2, 1)(x), atol=0, rtol=0)
    torch.testing.assert_close(create_pool("avg", 6, 3, 2, 1)(x), nn.AvgPool2d(3, 2, 1)(x), atol=0, rtol=0)


def test_strided_is_a_convolution_at_the_stride() -> None:
    pool = create_pool("strided", 4, 3, 2, 1)
    assert isinstance(pool, nn.Conv2d)
    assert (pool.kernel_size, pool.stride, pool.padding) == ((3, 3), (2, 2), (1, 1))
    with pytest.raises(ValueError, match="ceil_mode must be False"):
        create_pool("strided", 4, 2, ceil_mode=True)


def test_a_keyword_no_layer_takes_is_named() -> None:
    with pytest.raises(TypeError, match="patch"):
        create_pool("avg", 4, 2, patch=3)
