from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

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


def equal(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("ending", [".pt", ".pth", ".ckpt", ".bin"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "state_dict": state},
        lambda state: {"model": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {"state_dict": {f"model._orig_mod.{name}": value for name, value in state.items()}},
    ],
)
def test_what_common_scripts_save(tmp_path: Path, ending: str, wrap: Callable[[Any], Any]) -> None:
    model, other = network(), network()
    path = tmp_path / f"w{ending}"
    torch.save(wrap(model.state_dict()), path)
    with torch.no_grad():
        other.get_parameter("conv.weight").zero_()
    assert load_weights(other, path).replaced == ()
    assert equal(model, other)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch exploded",)


def test_nothing_in_a_file_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, held in (("bomb.pt", Bomb()), ("whole.pt", network())):
        torch.save(held, tmp_path / name)
        with pytest.raises(ValueError, match=r"convert it once .*torch\.save\(torch\.load\(.*\.state_dict\(\)"):
            load_weights(network(), tmp_path / name)
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"raw\.pt"):
        load_weights(network(), tmp_path / "raw.pt")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("held", "said"),
    [([1, 2], "must hold a state_dict .* got list"), ({}, "a dictionary of"), ({"lr": 0.1}, "a dictionary of lr")],
)
def test_files_without_weights(tmp_path: Path, held: Any, said: str) -> None:
    torch.save(held, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=said):
        load_weights(network(), tmp_path / "w.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "w.pt").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"cut\.pt: "):
        load_weights(network(), tmp_path / "cut.pt")
    (tmp_path / "w.npz").write_bytes(b"")
    with pytest.raises(ValueError, match=r"weights must be in a file of \.safetensors, .* got \.npz"):
        load_weights(network(), tmp_path / "w.npz")


def classifier(classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))


def test_a_classifier_of_other_classes_is_replaced_where_asked(tmp_path: Path) -> None:
    trained, model = classifier(5), classifier(3)
    first = model.get_parameter("3.weight").clone()
    save_weights(trained, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"3\.weight \(5, 4\) where the network has \(3, 4\); 3\.bias"):
        load_weights(model, tmp_path / "w.safetensors")
    loaded = load_weights(model, tmp_path / "w.safetensors", other_classes=True)
    assert loaded.replaced == ("3.weight", "3.bias")
    assert torch.equal(model.get_parameter("0.weight"), trained.get_parameter("0.weight"))
    assert torch.equal(model.get_parameter("3.weight"), first)


def test_the_first_three_differences_are_named(tmp_path: Path) -> None:
    save_weights(classifier(5), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"conv\.weight is missing; .*; .* and \d+ more$"):
        load_weights(network(), tmp_path / "w.safetensors")


@pytest.mark.parametrize("pool", ["avg", "self_attentive", "strided"])
def test_weights_of_a_plan_are_refused_without_it(tmp_path: Path, pool: str) -> None:
    model = sapool.load_model("sapool:tiny", 10)
    plan = sapool.make_plan(model, 64, pool, [4, 2, 2, 1])
    planned = sapool.apply_plan(model, plan).model
    path = tmp_path / "weights.safetensors"
    save_weights(planned, path)
    assert load_weights(sapool.apply_plan(model, plan).model, path).replaced == ()
    assert load_weights(planned, tmp_path).path == path
    with pytest.raises(ValueError, match=r"another (network or )?plan"):
        load_weights(sapool.load_model("sapool:tiny", 10), path)
    (tmp_path / "plan.json").write_text(plan.to_json())
    with pytest.raises(ValueError, match=r"another (network or )?plan.*beside them: .*plan\.json"):
        load_weights(sapool.load_model("sapool:tiny", 10), path)
