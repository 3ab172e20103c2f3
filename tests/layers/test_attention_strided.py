from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sapool.layers.attention_strided import AttentionStridedPool2d
from tests.layers.contract import check_graphs
from tests.layers.oracle import randomize


def make(
    *args: Any, size: tuple[int, int] = (6, 6), dtype: torch.dtype = torch.float64, **kwargs: Any
) -> tuple[AttentionStridedPool2d, Tensor]:
    torch.manual_seed(0)
    pool = AttentionStridedPool2d(*args, **kwargs).to(dtype)
    randomize(pool)
    return pool, torch.randn(2, args[0], *size, dtype=dtype)


def plain_norm(own: nn.BatchNorm2d) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(own.num_features, dtype=own.weight.dtype)
    norm.load_state_dict(own.state_dict())
    return norm.train(own.training)


def attended_map(pool: AttentionStridedPool2d, x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """Attend over all pixels by torch's own attention, every key kept."""
    tokens = F.relu(norm(pool.embed(x)))
    count, width, rows, columns = tokens.shape
    own, half = pool.attention, width // 2
    if pool.position is not None:
        place = torch.zeros(width, rows, columns, dtype=x.dtype)
        for row in range(rows):
            for column in range(columns):
                place[:half, row, column] = pool.position.column[column].detach()
                place[half:, row, column] = pool.position.row[row].detach()
        tokens = tokens + place
    whole = nn.MultiheadAttention(width, own.num_heads, batch_first=True, dtype=x.dtype)
    parts = (own.query, own.key, own.value)
    whole.in_proj_weight = nn.Parameter(torch.cat([part.weight for part in parts]))
    whole.in_proj_bias = nn.Parameter(torch.cat([part.bias for part in parts]))
    whole.out_proj.load_state_dict(own.project.state_dict())
    sequence = tokens.reshape(count, width, rows * columns).transpose(1, 2)
    attended, _ = whole(sequence, sequence, sequence, need_weights=False)
    return attended.transpose(1, 2).reshape(count, width, rows, columns)


def literal_pool(pool: AttentionStridedPool2d, x: Tensor, norms: tuple[nn.BatchNorm2d, nn.BatchNorm2d]) -> Tensor:
    """The whole formula; the convolution is a sum over one window at a time, zeros all around the map."""
    w, attended = pool.window, attended_map(pool, x, norms[0])
    rows, columns = nn.MaxPool2d(w.kernel_size, w.stride, w.padding, ceil_mode=w.ceil_mode)(x).shape[2:]
    around = F.pad(attended, (w.padding[1], 20, w.padding[0], 20))
    out = torch.zeros(x.shape[0], pool.in_channels, rows, columns, dtype=x.dtype)
    assert pool.reduce.bias is not None
    for i in range(rows):
        for j in range(columns):
            top, left = i * w.stride[0], j * w.stride[1]
            window = around[:, None, :, top : top + w.kernel_size[0], left : left + w.kernel_size[1]]
            out[:, :, i, j] = (window * pool.reduce.weight).sum((2, 3, 4)) + pool.reduce.bias
    return F.relu(norms[1](out))


CASES: list[tuple[Any, Any, Any, bool, dict[str, Any]]] = [
    # kernel, stride, padding, ceil_mode, keywords
    (2, None, 0, False, {}),
    (2, None, 0, True, {"num_heads": 1}),
    (3, 2, 1, False, {"embed_ratio": 0.5}),
    (3, 2, 1, True, {"position": None}),
    ((2, 3), (1, 2), (1, 0), False, {"num_heads": 4}),
    ((2, 3), (1, 2), (0, 1), True, {"max_keys": None}),
    (1, 1, 0, False, {"embed_ratio": 2.0}),
    (2, 3, 1, True, {"num_heads": 3}),
]


@pytest.mark.parametrize(("kernel", "stride", "padding", "ceil", "kwargs"), CASES)
@pytest.mark.parametrize("size", [(6, 6), (5, 8)])
@pytest.mark.parametrize("training", [False, True])
def test_equals_the_literal_formula(
    kernel: Any, stride: Any, padding: Any, ceil: bool, kwargs: dict[str, Any], size: tuple[int, int], training: bool
) -> None:
    pool, x = make(4, kernel, stride, padding, ceil, size=size, **kwargs)
    pool.train(training)
    norms = (plain_norm(pool.embed_norm), plain_norm(pool.reduce_norm))
    expected = literal_pool(pool, x, norms)
    torch.testing.assert_close(pool(x), expected)
    assert expected.min() >= 0
    for own, plain in zip((pool.embed_norm, pool.reduce_norm), norms, strict=True):
        torch.testing.assert_close(own.state_dict(), plain.state_dict())


def test_keys_above_the_cap_are_averaged() -> None:
    pool, x = make(4, 2, max_keys=9)
    whole, _ = make(4, 2, max_keys=None)
    small = x[:, :, :3, :3]
    torch.testing.assert_close(pool.eval()(small), whole.eval()(small), atol=0, rtol=0)
    assert not torch.allclose(pool(x), whole(x))


def test_compiles_and_exports_over_the_edge_and_above_the_cap() -> None:
    check_graphs(AttentionStridedPool2d(4, 3, 2, 1, True, max_keys=16))


@pytest.mark.parametrize("training", [False, True])
def test_gradients_are_right(training: bool) -> None:
    pool, x = make(4, 2, size=(4, 6), position_size=6)
    pool.train(training)
    assert torch.autograd.gradcheck(pool, (x.requires_grad_(),), fast_mode=True)
    (pool(x) * torch.randn_like(pool(x))).sum().backward()
    for name, parameter in pool.named_parameters():
        assert parameter.grad is not None, name
        # The soft-max cancels the key's bias, a BatchNorm the bias before it.
        if not name.endswith("bias"):
            assert parameter.grad.abs().max() > 0, name


def test_one_value_a_channel_in_training_is_a_clear_error() -> None:
    said = "a BatchNorm in training must have more than one value a channel"
    with pytest.raises(ValueError, match=said):
        AttentionStridedPool2d(4, 2)(torch.randn(1, 4, 3, 3))
    with pytest.raises(ValueError, match=said):
        AttentionStridedPool2d(4, 2, 1, 1)(torch.randn(1, 4, 1, 1))
    assert AttentionStridedPool2d(4, 2).eval()(torch.randn(1, 4, 3, 3)).shape == (1, 4, 1, 1)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"in_channels": 0}, "in_channels must be at least 1, got 0"),
        ({"num_heads": 0}, "num_heads must be at least 1, got 0"),
        ({"max_keys": 0}, "max_keys must be at least 1, got 0"),
        ({"position_size": 0}, "position_size must be at least 1, got 0"),
        ({"embed_ratio": 0.0}, "embed_ratio must be positive, got 0.0"),
        ({"padding": 2}, "padding must be 0 to kernel_size / 2, got 2"),
        ({"position": "sine"}, r"position must be one of \('learned', None\), got 'sine'"),
    ],
)
def test_bad_arguments_name_the_rule_and_the_value(kwargs: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"in_channels": 4, "kernel_size": 2} | kwargs
    with pytest.raises(ValueError, match=f"AttentionStridedPool2d: {said}"):
        AttentionStridedPool2d(**given)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (4, 8, 8), (2, 4, 1, 8)])
def test_bad_maps_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="AttentionStridedPool2d: "):
        AttentionStridedPool2d(4, 2)(torch.randn(*shape))
