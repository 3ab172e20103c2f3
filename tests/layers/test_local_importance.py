from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sapool.layers import LocalImportancePool2d, PointwiseImportancePool2d
from tests.layers.oracle import randomize, weighted_loops


def instance_norm(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), unbiased=False, keepdim=True)
    return (x - mean) / (var + 1e-5).sqrt() * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)


def pad_once(x: Tensor) -> Tensor:
    return nn.functional.pad(x, (1, 1, 1, 1))


def test_the_papers_form_equals_its_formula() -> None:
    pool: Any = LocalImportancePool2d(4, 3, 2, 1).double()
    randomize(pool)
    x = torch.randn(2, 4, 9, 8, dtype=torch.float64)
    conv, norm = pool.logit
    assert (conv.kernel_size, conv.bias, pool.gain) == ((3, 3), None, 12.0)
    logit = instance_norm(nn.functional.conv2d(pad_once(x), conv.weight), norm.weight, norm.bias)
    # Zeros around the map have no weight: a window is the average over its pixels inside.
    weight = torch.exp(12 * torch.sigmoid(logit))
    expected = weighted_loops(pad_once(x), pad_once(weight), (3, 3), (2, 2), normalize=True)
    torch.testing.assert_close(pool(x), expected, atol=1e-9, rtol=1e-9)


def test_it_starts_as_average_pooling_and_learns() -> None:
    x = torch.randn(2, 4, 8, 8)
    pool = LocalImportancePool2d(4, 3, 2, 1)
    expected = nn.AvgPool2d(3, 2, 1, count_include_pad=False)(x)
    torch.testing.assert_close(pool(x), expected, atol=1e-6, rtol=1e-5)
    pool(x).square().sum().backward()
    assert pool.logit[0].weight.grad.abs().max() > 0  # type: ignore[union-attr, operator]


def test_the_weaker_form_is_a_pointwise_batch_norm_form() -> None:
    pool: Any = PointwiseImportancePool2d(4, 2)
    conv, norm = pool.logit
    assert (conv.kernel_size, conv.bias is None, type(norm).__name__, pool.gain) == (
        (1, 1),
        False,
        "PatchBatchNorm2d",
        1,
    )
    assert conv.weight.abs().max() > 0


def test_the_bottleneck_is_that_of_the_papers_resnets() -> None:
    pool = LocalImportancePool2d(8, 3, 2, 1, logit_channels=128)
    convs = [m for m in pool.logit if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0]) for c in convs] == [
        (8, 128, 1),
        (128, 128, 3),
        (128, 8, 1),
    ]
    assert convs[-1].weight.abs().max() == 0


def test_a_map_of_one_pixel_is_pooled() -> None:
    for mode in (True, False):
        pool = LocalImportancePool2d(4, 3, 2, 1).train(mode)
        x = torch.randn(1, 4, 1, 1)
        torch.testing.assert_close(pool(x), x)


def test_a_large_gain_never_overflows() -> None:
    pool = PointwiseImportancePool2d(4, 2, gain=80.0).eval()
    nn.init.constant_(pool.logit[1].bias, 50.0)  # type: ignore[arg-type]
    x = 1e6 * torch.randn(2, 4, 8, 8)
    assert (pool(x) <= nn.MaxPool2d(2)(x) + 1.0).all()
    assert (pool(x) >= -nn.MaxPool2d(2)(-x) - 1.0).all()
    assert torch.isfinite(pool(x)).all()


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"logit_kernel_size": 2}, "logit_kernel_size must be odd, got 2"),
        ({"gain": 0.0}, "gain must be over 0 and at most 80, got 0.0"),
        ({"norm": "layer"}, "norm must be one of"),
        ({"logit_channels": 0}, "logit_channels must be at least 1, got 0"),
    ],
)
def test_bad_arguments_name_the_rule_and_the_value(kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LocalImportancePool2d(4, 2, **kwargs)
