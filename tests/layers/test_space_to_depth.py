from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sapool.layers.space_to_depth import SpaceToDepthPool2d
from tests.layers.contract import check_graphs


def make(
    *args: Any, size: tuple[int, int] = (8, 8), dtype: torch.dtype = torch.float64, **kwargs: Any
) -> tuple[SpaceToDepthPool2d, Tensor]:
    torch.manual_seed(0)
    return SpaceToDepthPool2d(*args, **kwargs).to(dtype), torch.randn(2, args[0], *size, dtype=dtype)


def in_loops(pool: SpaceToDepthPool2d, x: Tensor) -> Tensor:
    """Fold tile by tile, then convolve output by output."""
    side, k = pool.window.kernel_size[0], pool.conv.kernel_size[0]
    batch, channels, rows, columns = x.shape[0], x.shape[1], x.shape[2] // side, x.shape[3] // side
    folded = torch.zeros(batch, channels * side * side, rows + 2 * (k // 2), columns + 2 * (k // 2), dtype=x.dtype)
    out = torch.zeros(batch, channels, rows, columns, dtype=x.dtype)
    for i in range(rows):
        for j in range(columns):
            tile = x[:, :, i * side : (i + 1) * side, j * side : (j + 1) * side]
            folded[:, :, i + k // 2, j + k // 2] = tile.permute(0, 2, 3, 1).reshape(batch, -1)
    for i in range(rows):
        for j in range(columns):
            seen = folded[:, None, :, i : i + k, j : j + k]
            assert pool.conv.bias is not None
            out[:, :, i, j] = (seen * pool.conv.weight).sum((2, 3, 4)) + pool.conv.bias
    return out


@pytest.mark.parametrize("side", [1, 2, 3, 4])
@pytest.mark.parametrize("conv", [1, 3, 5])
@pytest.mark.parametrize("size", [(8, 8), (9, 7), (4, 11)])
def test_equals_the_formula_in_loops(side: int, conv: int, size: tuple[int, int]) -> None:
    pool, x = make(3, side, size=size, conv_kernel_size=conv)
    torch.testing.assert_close(pool(x), in_loops(pool, x))
    assert pool(x).shape == nn.MaxPool2d(side)(x).shape


@pytest.mark.parametrize("conv", [1, 3])
def test_is_one_strided_convolution_of_a_larger_kernel(conv: int) -> None:
    pool, x = make(3, 2, size=(9, 8), conv_kernel_size=conv)
    # weight[o, (a, b, c), i, j] meets the pixel at 2 i + a, 2 j + b.
    weight = pool.conv.weight.view(3, 2, 2, 3, conv, conv).permute(0, 3, 4, 1, 5, 2).reshape(3, 3, 2 * conv, 2 * conv)
    expected = F.conv2d(x[:, :, :8], weight, pool.conv.bias, 2, 2 * (conv // 2))
    torch.testing.assert_close(pool(x), expected)


def test_compiles_and_exports_where_the_map_has_left_overs() -> None:
    check_graphs(SpaceToDepthPool2d(4, 3, conv_kernel_size=1))


def test_gradients_are_right() -> None:
    pool, x = make(2, 2, size=(5, 6))
    assert torch.autograd.gradcheck(pool, (x.requires_grad_(),), fast_mode=True)
    pool(x).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in pool.parameters())


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"in_channels": 0}, "in_channels must be at least 1, got 0"),
        ({"kernel_size": (2, 4)}, r"kernel_size must be square.*got \(2, 4\)"),
        ({"stride": 1}, r"stride must be the kernel_size \(2, 2\).*got \(1, 1\)"),
        ({"padding": 1}, r"padding must be 0.*got \(1, 1\)"),
        ({"ceil_mode": True}, "ceil_mode must be False.*got True"),
        ({"conv_kernel_size": 2}, "conv_kernel_size must be odd and at least 1, got 2"),
        ({"conv_kernel_size": -1}, "conv_kernel_size must be odd and at least 1, got -1"),
    ],
)
def test_bad_arguments_name_the_rule_and_the_value(kwargs: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"in_channels": 4, "kernel_size": 2} | kwargs
    with pytest.raises(ValueError, match=f"SpaceToDepthPool2d: {said}"):
        SpaceToDepthPool2d(**given)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (4, 8, 8), (2, 4, 1, 8)])
def test_bad_maps_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="SpaceToDepthPool2d: "):
        SpaceToDepthPool2d(4, 2)(torch.randn(*shape))
