from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import sapool
from sapool.passes import apply_passes
from tests.layers.oracle import randomize


def network(heads: int = 2) -> nn.Module:
    """A network whose pool sees one token of a 4 x 4 image, and four of an 8 x 8 one."""
    torch.manual_seed(0)
    pool = sapool.create_pool("self_attentive", 8, 2, num_heads=heads)
    layers = (nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), pool, nn.Flatten(), nn.LazyLinear(10))
    return nn.Sequential(*layers).eval()


def images(size: int) -> Tensor:
    return torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("heads", [1, 2, 8])
def test_one_token_attends_to_itself_alone(heads: int) -> None:
    model = network(heads)
    model(images(4))
    randomize(model)
    changed = copy.deepcopy(model)
    assert apply_passes(changed, images(4), ["lone_token"]) == ("lone_token",)
    assert torch.allclose(changed(images(4)), model(images(4)), atol=1e-6)


def test_several_tokens_are_left_as_they_are() -> None:
    model = network()
    model(images(8))
    assert apply_passes(model, images(8), ["lone_token"]) == ()


@pytest.mark.slow
def test_a_map_of_one_token_runs_on_micro_controllers(tmp_path: Path) -> None:
    model = network()
    model(images(4))
    randomize(model)
    path = tmp_path / "model.tflite"
    sapool.export_int8(model, [images(4)], path)
    assert sapool.measure_arena(path).head_bytes == sapool.profile_memory(model, 4).head_bytes
