from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sapool.networks.traced import trace
from sapool.networks.tracer import ShapeDecisionError, UntraceableModelError, strided_modules


def traced(model: nn.Module, size: int = 16) -> nn.Module:
    return trace(model, size).module


def agrees(model: nn.Module, size: int = 16, batch: int = 3) -> bool:
    x = torch.rand(batch, 3, size, size)
    return torch.equal(traced(model, size)(x), model(x))


class Loops(nn.Module):
    """Whole numbers, lengths and parts, all of shapes."""

    def forward(self, x: Tensor) -> Tensor:
        x = x + 0
        for channel in range(x.shape[1]):
            x[:, channel] = x[:, channel] * channel
        parts = torch.split(x, int(x.shape[-1] ** 0.5), dim=-1)
        assert len(parts) == 4
        total = sum(part.sum(-1) for part in parts)
        assert isinstance(total, Tensor) or total is not None
        return total  # type: ignore[return-value]


def test_loops_over_shapes_are_unrolled_and_checked() -> None:
    assert agrees(Loops())
    with pytest.raises(ShapeDecisionError, match=r"traced at a size where .*\*\* 0\.5"):
        traced(Loops())(torch.rand(1, 3, 16, 36))


class Truthy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.shape[-1] % 5 else x


def test_a_number_as_a_condition_is_checked_as_a_condition() -> None:
    net = traced(Truthy(), 8)
    assert torch.equal(net(torch.ones(1, 3, 8, 9)), 2 * torch.ones(1, 3, 8, 9))
    with pytest.raises(ShapeDecisionError):
        net(torch.ones(1, 3, 8, 10))


class ByBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[i] * i for i in range(x.shape[0])])


def test_the_size_of_the_batch_is_never_frozen() -> None:
    with pytest.raises(UntraceableModelError, match="depends on the size of the batch"):
        trace(ByBatch(), 8)


class Optional(nn.Module):
    def forward(self, x: Tensor, mask: Tensor | None = None, scale: float = 2.0) -> Tensor:
        if mask is not None:
            raise RuntimeError("there is no mask")
        return x * scale


def test_arguments_that_are_left_out_keep_their_defaults() -> None:
    assert agrees(Optional())


class AsksForType(nn.Module):
    def forward(self, x: Any) -> Tensor:
        return x * 2 if isinstance(x, Tensor) else x * 3


def test_a_trace_that_took_another_way_is_found_out() -> None:
    with pytest.raises(UntraceableModelError, match="computes something else than the code"):
        trace(AsksForType(), 8)


class Random(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


def test_random_networks_are_not_taken_for_it() -> None:
    assert traced(Random())(torch.rand(1, 3, 8, 8)).shape == (1, 3, 8, 8)


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x**3

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0] * 7  # not what autograd would say


class UsesCube(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return Cube.apply(self.conv(x))


def test_an_autograd_function_keeps_its_backward() -> None:
    model = UsesCube()
    net = traced(model)
    assert not hasattr(model, "autograd_functions")
    assert list(net.state_dict()) == list(model.state_dict())
    x = torch.rand(2, 3, 8, 8, requires_grad=True)
    given = torch.autograd.grad(net(x).sum(), x)[0]
    assert torch.equal(given, torch.autograd.grad(model(x).sum(), x)[0])
    x.requires_grad_(False)
    assert torch.equal(Cube.apply(x), x**3)


def test_strided_modules_are_convolutions_and_pools_with_a_stride() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 3, (1, 2)), nn.Conv2d(3, 3, 3), nn.MaxPool2d(2), nn.AvgPool2d(3, 1))
    assert strided_modules(net) == ["0", "2"]
    assert strided_modules(net[0]) == [""]


class Caches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.grid: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.grid is None:
            self.grid, self.seen = x.new_zeros(x.shape[-1]) + 1, [x]
        return x + self.grid


def test_what_the_code_caches_while_it_is_traced_does_not_stay() -> None:
    model = Caches()
    net = traced(model, 8)
    assert not hasattr(model, "seen") or isinstance(model.seen[0], Tensor)
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(net(x), model(x))
