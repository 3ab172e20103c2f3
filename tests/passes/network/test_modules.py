from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sapool.passes.network._modules import modules_of, record_inputs, replace_module


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.part(self.part(x)[:, :, ::2])


def test_modules_are_found_by_kind_and_replaced_by_name() -> None:
    model = Twice()
    ((name, conv),) = modules_of(model, nn.Conv2d)
    assert name == "part.0"
    replace_module(model, name, nn.Identity())
    assert list(modules_of(model, nn.Conv2d)) == []
    assert conv.out_channels == 3


def test_every_call_is_recorded_and_no_hook_stays() -> None:
    model = Twice()
    assert record_inputs(model, torch.rand(1, 3, 8, 4), nn.Conv2d) == {"part.0": [((1, 3, 8, 4),), ((1, 3, 4, 4),)]}
    kinds = record_inputs(model, torch.rand(1, 3, 8, 4), nn.ReLU, lambda module, args: type(module).__name__)
    assert kinds == {"part.1": ["ReLU", "ReLU"]}
    with pytest.raises(RuntimeError):
        record_inputs(model, torch.rand(1, 4, 8, 8), nn.Conv2d)
    assert not any(module._forward_pre_hooks for module in model.modules())
