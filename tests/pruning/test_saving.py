from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sapool.layers import POOLS
from sapool.pruning import Pruned, load_pruned, prune_channels, save_pruned
from tests.pruning.networks import SIZE, network


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Pruned, Path]:
    model = network(pool="self_attentive")
    pruned = prune_channels(model, SIZE, ratio=0.5, passes="none")
    folder = tmp_path_factory.mktemp("pruned") / "new"
    save_pruned(pruned, model, folder)
    return model, pruned, folder


@pytest.mark.parametrize("pool", [name for name in POOLS if name != "self_attentive"])
def test_every_pool_comes_back(pool: str, tmp_path: Path) -> None:
    model = network(pool=pool)
    pruned = prune_channels(model, SIZE, ratio=0.5, passes="none")
    save_pruned(pruned, model, tmp_path)
    same(pruned.model, load_pruned(network(pool=pool), tmp_path))


def same(ours: nn.Module, theirs: nn.Module) -> None:
    x = torch.rand(2, 3, SIZE, SIZE)
    with torch.no_grad():
        assert torch.equal(ours.eval()(x), theirs.eval()(x))
    assert repr(ours) == repr(theirs)


def test_a_saved_network_comes_back(saved: tuple[nn.Module, Pruned, Path]) -> None:
    model, pruned, folder = saved
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    same(pruned.model, load_pruned(model, folder))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert sorted(path.name for path in folder.iterdir()) == ["channels.json", "prune.json", "weights.safetensors"]


def test_another_network_is_refused(saved: tuple[nn.Module, Pruned, Path]) -> None:
    with pytest.raises(ValueError, match="holds another network than TinyNet: it has no module 'pools"):
        load_pruned(network(), saved[2])
    with pytest.raises(ValueError, match="holds another network than"):
        load_pruned(network(pool="gaussian"), saved[2])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format 2, this version reads 1"),
        ({"modules": []}, "not the widths of a pruned network"),
        ({"modules": {"head.0": {"out_channels": 0}}}, "no whole number of at least 1"),
        ({"modules": {"head.0": {"out_channels": "9"}}}, "no whole number of at least 1"),
        ({"modules": {"head.0": {"forward": 9}}}, "head.0 has no number 'forward'"),
        ({"modules": {"head.0": {"_version": 9}}}, "head.0 has no number '_version'"),
        ({"modules": {"head.0": {"kernel_size": 9}}}, "head.0 has no number 'kernel_size'"),
        ({"modules": {"hat.0": {"out_channels": 9}}}, "it has no module 'hat.0'"),
        ({"buffers": {"head.1.running_var": [1000]}}, "can't be cut"),
        ({"buffers": {"head.1.nothing": [1]}}, "has no tensor 'nothing'"),
    ],
)
def test_damaged_widths(
    saved: tuple[nn.Module, Pruned, Path], change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    model, _, folder = saved
    widths = json.loads((folder / "channels.json").read_text())
    (tmp_path / "channels.json").write_text(json.dumps(widths | change))
    (tmp_path / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes())
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        load_pruned(model, tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_files(saved: tuple[nn.Module, Pruned, Path], tmp_path: Path) -> None:
    model, _, folder = saved
    with pytest.raises(ValueError, match=r"channels\.json: not the widths of a pruned network"):
        load_pruned(model, tmp_path)
    (tmp_path / "channels.json").write_text((folder / "channels.json").read_text())
    with pytest.raises(ValueError, match=r"weights\.safetensors: no weights in safetensors format"):
        load_pruned(model, tmp_path)
    (tmp_path / "weights.safetensors").write_text("hello, world")
    with pytest.raises(ValueError, match=r"weights\.safetensors: no weights in safetensors format"):
        load_pruned(model, tmp_path)
