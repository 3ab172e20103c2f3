from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sapool.layers.rnn import FastGRNNCell2d, RNNPool2d
from tests.layers.contract import check_graphs
from tests.layers.oracle import randomize


def make(
    *args: Any, size: tuple[int, int] = (6, 6), dtype: torch.dtype = torch.float64, **kwargs: Any
) -> tuple[RNNPool2d, Tensor]:
    torch.manual_seed(0)
    pool = RNNPool2d(*args, **kwargs).to(dtype)
    randomize(pool)
    return pool, torch.randn(2, args[0], *size, dtype=dtype)


def run_cell(cell: FastGRNNCell2d, inputs: list[Tensor]) -> Tensor:
    """Run FastGRNN, as its paper writes it, over a list of vectors; returns the last state."""
    w, u = cell.read.weight[:, :, 0, 0], cell.recur.weight[:, :, 0, 0]
    h = torch.zeros(u.shape[0], dtype=u.dtype)
    for x in inputs:
        z = torch.sigmoid(w @ x + u @ h + cell.gate_bias[:, 0, 0])
        c = torch.tanh(w @ x + u @ h + cell.update_bias[:, 0, 0])
        h = (torch.sigmoid(cell.zeta) * (1 - z) + torch.sigmoid(cell.nu)) * c + z * h
    return h


def one_window(pool: RNNPool2d, pixels: Tensor) -> Tensor:
    """Summarise one window (C, kh, kw): (C,)."""
    _, height, width = pixels.shape
    rows = [run_cell(pool.rnn1, [pixels[:, i, j] for j in range(width)]) for i in range(height)]
    columns = [run_cell(pool.rnn1, [pixels[:, i, j] for i in range(height)]) for j in range(width)]
    y = torch.cat([run_cell(pool.rnn2, steps) for steps in (rows, rows[::-1], columns, columns[::-1])])
    if pool.restore is None:
        return y
    assert pool.restore.bias is not None
    return pool.restore.weight[:, :, 0, 0] @ y + pool.restore.bias


def in_loops(pool: RNNPool2d, x: Tensor) -> Tensor:
    """Take one window at a time out of a map with zeros all around."""
    w = pool.window
    rows, columns = nn.MaxPool2d(w.kernel_size, w.stride, w.padding, ceil_mode=w.ceil_mode)(x).shape[2:]
    around = torch.zeros(*x.shape[:2], x.shape[2] + 20, x.shape[3] + 20, dtype=x.dtype)
    around[:, :, w.padding[0] : w.padding[0] + x.shape[2], w.padding[1] : w.padding[1] + x.shape[3]] = x
    out = torch.zeros(*x.shape[:2], rows, columns, dtype=x.dtype)
    for n in range(x.shape[0]):
        for i in range(rows):
            for j in range(columns):
                top, left = i * w.stride[0], j * w.stride[1]
                out[n, :, i, j] = one_window(
                    pool, around[n, :, top : top + w.kernel_size[0], left : left + w.kernel_size[1]]
                )
    return out


CASES: list[tuple[Any, Any, Any, bool]] = [
    # kernel, stride, padding, ceil_mode
    (2, None, 0, False),
    (2, None, 0, True),
    (3, 2, 1, False),
    (3, 2, 1, True),
    ((2, 3), (1, 2), (1, 0), False),
    ((3, 1), (2, 1), 0, True),
    (1, 1, 0, False),
    (1, 2, 0, False),
    (2, 3, 0, False),
    (2, 3, 1, True),
]


@pytest.mark.parametrize(("kernel", "stride", "padding", "ceil"), CASES)
@pytest.mark.parametrize("size", [(6, 6), (5, 4)])
def test_equals_the_formula_window_by_window(
    kernel: Any, stride: Any, padding: Any, ceil: bool, size: tuple[int, int]
) -> None:
    pool, x = make(4, kernel, stride, padding, ceil, size=size, hidden_size=3)
    with torch.no_grad():
        expected = in_loops(pool, x)
    torch.testing.assert_close(pool(x), expected)


@pytest.mark.parametrize(
    ("channels", "kwargs", "hidden", "summary", "restores"),
    [
        (8, {}, 2, 2, False),
        (3, {}, 1, 1, True),
        (6, {}, 1, 1, True),
        (8, {"hidden_size": 5}, 5, 2, False),
        (4, {"summary_size": 2}, 2, 2, True),
    ],
)
def test_sizes(channels: int, kwargs: dict[str, Any], hidden: int, summary: int, restores: bool) -> None:
    pool, x = make(channels, 2, size=(4, 4), **kwargs)
    assert pool.rnn1.recur.out_channels == hidden
    assert pool.rnn2.recur.out_channels == summary
    assert (pool.restore is not None) == restores
    with torch.no_grad():
        torch.testing.assert_close(pool(x), in_loops(pool, x))


def test_starts_as_fastgrnn_does() -> None:
    cell = FastGRNNCell2d(64, 64)
    assert cell.zeta.item() == 1
    assert cell.nu.item() == -4
    assert torch.equal(cell.gate_bias, torch.ones(64, 1, 1))
    assert cell.read.weight.std().item() == pytest.approx(0.1, abs=0.01)


def test_a_transposed_map_swaps_the_halves() -> None:
    pool, x = make(8, 2)
    halves = pool(x).chunk(2, dim=1)
    swapped = pool(x.transpose(2, 3)).transpose(2, 3).chunk(2, dim=1)
    torch.testing.assert_close(swapped[0], halves[1])
    torch.testing.assert_close(swapped[1], halves[0])


def test_compiles_and_exports_over_the_edge() -> None:
    check_graphs(RNNPool2d(6, 3, 2, 1, True, summary_size=2))


def test_large_values_stay_finite_in_half_precision() -> None:
    pool = RNNPool2d(4, 2).half()
    assert torch.isfinite(pool(torch.full((1, 4, 4, 4), 60000.0).half())).all()


def test_gradients_are_right() -> None:
    pool, x = make(4, 3, 2, 1, size=(5, 4), hidden_size=2)
    assert torch.autograd.gradcheck(pool, (x.requires_grad_(),), fast_mode=True)
    (pool(x) * torch.randn_like(pool(x))).sum().backward()
    for name, parameter in pool.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"in_channels": 0}, "in_channels must be at least 1, got 0"),
        ({"stride": 0}, "stride must be at least 1, got 0"),
        ({"padding": 2}, "padding must be 0 to kernel_size / 2, got 2"),
        ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
        ({"summary_size": 0, "hidden_size": 2}, "summary_size must be at least 1, got 0"),
    ],
)
def test_bad_arguments_name_the_rule_and_the_value(kwargs: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"in_channels": 4, "kernel_size": 2} | kwargs
    with pytest.raises(ValueError, match=f"RNNPool2d: {said}"):
        RNNPool2d(**given)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (4, 8, 8), (2, 4, 1, 8)])
def test_bad_maps_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="RNNPool2d: "):
        RNNPool2d(4, 2)(torch.randn(*shape))
