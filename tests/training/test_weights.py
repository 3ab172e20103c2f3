from __future__ import annotations

from pathlib import Path

import pytest
import torch

import sapool
from sapool.training import load_weights, save_weights
from tests.training.tiny import network


def test_weights_round_trip_without_pickle(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    model = network()
    save_weights(model, path)
    other = network()
    with torch.no_grad():
        other.get_parameter("conv.weight").zero_()
    load_weights(other, path)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    with pytest.raises(ValueError, match=r"weights\.safetensors: the weights of another network"):
        load_weights(sapool.load_model("sapool:tiny"), path)
    with pytest.raises(ValueError, match=r"x\.safetensors: no such file"):
        load_weights(other, tmp_path / "x.safetensors")
    (tmp_path / "bad.safetensors").write_text("hello")
    with pytest.raises(ValueError, match=r"bad\.safetensors: not a safetensors file"):
        load_weights(other, tmp_path / "bad.safetensors")
