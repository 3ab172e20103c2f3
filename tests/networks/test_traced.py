from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from sapool.networks.traced import InputSizeError, as_input_size, evaluating, trace
from sapool.networks.tracer import ShapeDecisionError, UntraceableModelError


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x
        return self.conv(x)


def test_input_sizes_are_an_int_or_a_triple() -> None:
    assert as_input_size(64) == (3, 64, 64)
    assert as_input_size((1, 20, 30)) == (1, 20, 30)
    for wrong in ((1, 2), 0, (3, 0, 4)):
        with pytest.raises(ValueError, match="input_size must be an int or"):
            as_input_size(wrong)  # type: ignore[arg-type]


def test_shapes_are_those_of_a_run() -> None:
    model = nn.Sequential(nn.Conv2d(3, 5, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(7))
    model(torch.zeros(1, 3, 9, 12))
    shapes = trace(model, (3, 9, 12)).shapes
    assert list(shapes.values()) == [(1, 3, 9, 12), (1, 5, 5, 6), (1, 5, 5, 6), (1, 150), (1, 7), (1, 7)]


def test_tracing_changes_neither_modes_nor_statistics() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    model[2].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trace(model, 8)
    assert [m.training for m in model] == [True, True, False]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_modes_come_back_after_an_error() -> None:
    model = nn.Dropout()
    with pytest.raises(RuntimeError, match="boom"), evaluating(model):
        raise RuntimeError("boom")
    assert model.training


def test_a_branch_on_values_is_named_by_its_line() -> None:
    with pytest.raises(UntraceableModelError) as caught:
        trace(Branching(), 8)
    assert re.search(r"test_traced\.py:\d+ \(if x\.sum\(\) > 0:\)", str(caught.value))


def test_a_size_the_model_cannot_take_names_the_place() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 7))
    with pytest.raises(InputSizeError, match=r"can't take an input of \(3, 6, 6\).*: 1 fails with"):
        trace(model, 6)
    with pytest.raises(InputSizeError, match="0 fails with"):
        trace(model, (1, 20, 20))


def test_something_that_is_no_module_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model must be a torch\.nn\.Module, got function"):
        trace(lambda x: x, 8)  # type: ignore[arg-type]


class ByShape(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if x.shape[-1] < 16 or x.device.type == "meta":
            return x
        return x[:, :, ::2, ::2]


def test_a_branch_on_shapes_is_decided_and_checked() -> None:
    traced = trace(ByShape(), 32)
    assert traced.module(torch.rand(2, 3, 40, 40)).shape == (2, 3, 20, 20)
    with pytest.raises(ShapeDecisionError, match=r"x\.shape\[-1\] < 16"):
        traced.module(torch.rand(2, 3, 8, 8))
    assert trace(ByShape(), 8).module(torch.rand(2, 3, 8, 8)).shape == (2, 3, 8, 8)
