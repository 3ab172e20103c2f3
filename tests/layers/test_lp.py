from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from sapool.layers.lp import LpPool2d
from tests.layers.contract import (
    CASES,
    Region,
    check_gradient,
    check_graphs,
    check_half,
    pool_loops,
)


@pytest.mark.parametrize(("kernel", "stride", "padding", "ceil", "size"), CASES)
@pytest.mark.parametrize(("p", "learned"), [(1.0, False), (3.5, False), (2.0, True)])
def test_equals_the_formula(
    kernel: Any, stride: Any, padding: Any, ceil: bool, size: tuple[int, int], p: float, learned: bool
) -> None:
    torch.manual_seed(0)
    pool = LpPool2d(3, kernel, stride, padding, ceil, p=p, learned=learned).double()
    order: Any = p
    if pool.rho is not None:
        torch.nn.init.normal_(pool.rho)
        order = 1 + (1 + pool.rho.detach().exp()).log()[None, :, None]

    def norm(region: Region) -> torch.Tensor:
        return (region.padded.abs() ** order).mean(2, keepdim=True).pow(1 / order).squeeze(2)

    x = torch.randn(2, 3, *size, dtype=torch.float64)
    torch.testing.assert_close(pool(x).detach(), pool_loops(x, pool.window, norm), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("p", [1.001, 1.5, 2.0, 3.0, 64.0, 1000.0])
def test_learned_order_starts_where_it_is_asked_to(p: float) -> None:
    order = LpPool2d(4, 2, p=p).order
    assert isinstance(order, torch.Tensor)
    torch.testing.assert_close(order, torch.full((1, 4, 1, 1), p), atol=1e-6, rtol=1e-6)


def test_limits_are_average_and_max_pooling() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 9, 8)
    one = LpPool2d(3, 3, 2, 1, True, p=1.0, learned=False)
    torch.testing.assert_close(one(x), one.window.average(x), atol=1e-6, rtol=1e-5)
    many = LpPool2d(3, 2, p=64.0)
    top = many.window.maximum(x)
    assert (many(x) <= top * (1 + 1e-5)).all()
    assert (many(x) >= top * 4 ** (-1 / 64) * (1 - 1e-5)).all()
    endless = LpPool2d(3, 2, p=1e5, learned=False)
    torch.testing.assert_close(endless(x), top, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-30, 1e-4, 1e30])
def test_is_as_exact_at_any_magnitude(scale: float) -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 8, 8)
    pool = LpPool2d(3, 2, p=3.0, eps=1e-36)
    torch.testing.assert_close(pool(x * scale) / scale, pool(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("p", "learned"), [(1.0, False), (2.0, True), (3.0, False)])
def test_an_all_zero_window_has_a_finite_gradient(p: float, learned: bool) -> None:
    x = torch.zeros(1, 2, 4, 4, requires_grad=True)
    pool = LpPool2d(2, 2, p=p, learned=learned)
    y = pool(x)
    y.sum().backward()
    assert (y == 0).all()
    assert x.grad is not None
    assert (x.grad == 0).all()
    assert pool.rho is None or (pool.rho.grad is not None and torch.isfinite(pool.rho.grad).all())


def test_windows_under_eps_are_within_eps() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64) * 1e-3
    exact, near = LpPool2d(3, 2, eps=1e-12), LpPool2d(3, 2, eps=1e-3)
    assert (exact(x) - near(x)).abs().max() < 1e-3


def test_edges_in_graphs_and_half_precision() -> None:
    for learned in (True, False):
        pool = LpPool2d(3, 3, 2, 1, True, p=3.0, learned=learned)
        check_graphs(pool)
        check_half(pool, 1.0)
        # |x|^3 is far over half's largest number.
        check_half(pool, 5000.0)


@pytest.mark.parametrize(("p", "learned"), [(2.0, True), (1.5, False)])
def test_gradients_are_right(p: float, learned: bool) -> None:
    check_gradient(LpPool2d(2, 3, 2, 1, True, p=p, learned=learned))


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"p": 1.0}, "p must be finite and above 1 where it is learned, got 1.0"),
        ({"p": 0.5, "learned": False}, "p must be finite and at least 1, got 0.5"),
        ({"p": math.inf, "learned": False}, "p must be finite and at least 1, got inf"),
        ({"p": math.nan}, "p must be finite and above 1 where it is learned, got nan"),
        ({"eps": 0.0}, "eps must be positive, got 0.0"),
        ({"stride": 0}, "stride must be at least 1, got 0"),
    ],
)
def test_bad_arguments_name_the_rule_and_the_value(kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LpPool2d(4, 2, **kwargs)
