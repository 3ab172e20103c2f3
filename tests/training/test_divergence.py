from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sapool.layers import create_pool
from sapool.training import DivergedError, TrainConfig, train
from sapool.training.divergence import first_bad_gradient, first_bad_output
from tests.training.tiny import blobs, network

IMAGES = torch.rand(4, 3, 8, 8)


class Square(nn.Module):
    """Finite forwards; its root's gradient at zero is not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 8), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).flatten(1)
        return self.second((x - x.detach()).sqrt())


def test_the_first_bad_output_is_named() -> None:
    model = network()
    assert first_bad_output(model, IMAGES) is None
    with torch.no_grad():
        model.get_parameter("norm.weight").fill_(float("inf"))
        model.get_parameter("classifier.weight").fill_(float("nan"))
    assert first_bad_output(model, IMAGES) == "norm"
    assert not any(module._forward_hooks for module in model.modules())


def test_the_first_bad_gradient_is_named_on_the_way_back() -> None:
    model = Square()
    model(IMAGES).sum().backward()
    assert first_bad_output(model, IMAGES) is None
    assert first_bad_gradient(model) == "first.bias"


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        ("loss", r"the loss became nan in epoch 1, step 1: lower learning_rate \(now 0.01\); no epoch was finished, "
                 "no checkpoint is kept; first not finite: the output of conv"),
        ("gradient", r"the gradient's norm became nan in epoch 1, step 1: .*: the gradient of first.bias"),
    ],
)  # fmt: skip
def test_training_stops_with_the_place(break_it: str, said: str, tmp_path: Path) -> None:
    model = Square() if break_it == "gradient" else network()
    if break_it == "loss":
        with torch.no_grad():
            model.get_parameter("conv.weight").fill_(float("nan"))
    with pytest.raises(DivergedError, match=said) as caught:
        train(model, blobs(), TrainConfig(epochs=1, batch_size=10), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pool", ["deformable_self_attentive", "mixed_self_attentive"])
def test_a_diverging_sampler_stops_with_the_place_too(pool: str, tmp_path: Path) -> None:
    """Offsets that are no numbers are no addresses: the loss becomes NaN, and the process lives to say so."""
    model = nn.Sequential(create_pool(pool, 3, 2), nn.Flatten(), nn.Linear(48, 4))
    with torch.no_grad():
        model.get_parameter("0.offset.bias").fill_(float("inf"))
    with pytest.raises(DivergedError, match=r"the loss became nan in epoch 1, step 1: lower learning_rate"):
        train(model, blobs(), TrainConfig(epochs=1, batch_size=10), tmp_path)
