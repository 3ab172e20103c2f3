from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import sapool
from sapool.export import ExportError, randomize_norms
from sapool.export.onnx import ERROR_LIMIT, export_onnx, relative_error
from sapool.layers import create_pool, list_pools


@pytest.mark.slow
def test_a_planned_network_is_the_same_in_onnxruntime_for_any_batch(tmp_path: Path) -> None:
    model = sapool.load_model("sapool:tiny", 10)
    plan = sapool.make_plan(model, 32, "self_attentive", [4, 2, 1, 1])
    net, path = randomize_norms(sapool.apply_plan(model, plan).model).train(), tmp_path / "m.onnx"
    before = copy.deepcopy(net.state_dict())
    record = export_onnx(net, 32, path)
    assert net.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert record.flash_bytes == path.stat().st_size
    assert record.float_error <= ERROR_LIMIT
    assert {"Conv", "Softmax"} <= set(record.operators)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert onnx.load(path).opset_import[0].version == record.opset
    for count in (1, 3):
        x = torch.rand(count, 3, 32, 32)
        with torch.no_grad():
            expected = net.eval()(x).numpy()
        (got,) = session.run(None, {"images": x.numpy()})
        np.testing.assert_allclose(got, expected, atol=ERROR_LIMIT * np.abs(expected).max(), rtol=0)


class EveryPool(nn.Module):
    """Every pool there is, side by side behind one stem; a row of channel means each."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4))
        self.pools = nn.ModuleDict({name: create_pool(name, 4, 2) for name in list_pools()})

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return torch.stack([pool(x).mean((2, 3)) for pool in self.pools.values()], 1)


@pytest.mark.slow
def test_every_pool_exports(tmp_path: Path) -> None:
    """In one file: starting the exporter for each would take minutes."""
    torch.manual_seed(0)
    net = randomize_norms(EveryPool()).eval()
    assert export_onnx(net, 16, tmp_path / "m.onnx").float_error <= ERROR_LIMIT
    x = torch.rand(2, 3, 16, 16)
    (got,) = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, {"images": x.numpy()})
    with torch.no_grad():
        expected = net(x).numpy()
    for name, ours, theirs in zip(list_pools(), expected.swapaxes(0, 1), got.swapaxes(0, 1), strict=True):
        assert np.abs(ours - theirs).max() <= ERROR_LIMIT * np.abs(ours).max(), name


class Median(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.median(-1).values.mean(2)


@pytest.mark.slow
def test_what_onnx_lacks_is_one_line_with_its_module_and_no_file(tmp_path: Path) -> None:
    said = r"the ONNX exporter refuses Sequential: module '1' \(Median\), test_onnx\.py:\d+ .* aten\.median\.dim; "
    with pytest.raises(ExportError, match=said) as caught:
        export_onnx(nn.Sequential(nn.ReLU(), Median()), 16, tmp_path / "m.onnx")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_another_answer_is_no_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sapool.export import onnx as ours

    run = ours._run_onnx
    monkeypatch.setattr(ours, "_run_onnx", lambda data, x: (run(data, x)[0] * 1.001, "onnxruntime"))
    with pytest.raises(ExportError, match="does not compute what PyTorch computes of Sequential: relative error"):
        export_onnx(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4)), 8, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_the_error_is_relative_to_the_largest_output_and_sees_nan() -> None:
    expected = torch.tensor([[1.0, -4.0]])
    assert relative_error(expected, torch.tensor([[1.5, -4.0]])) == 0.125
    assert not relative_error(expected, torch.tensor([[torch.nan, -4.0]])) <= ERROR_LIMIT
    assert relative_error(torch.zeros(1, 2), torch.zeros(1, 2)) == 0


@pytest.mark.parametrize(
    ("model", "size", "said"),
    [
        (nn.Conv2d(1, 4, 3), 8, r"Conv2d can't take images of \(3, 8, 8\) \(C, H, W\)"),
        (nn.LSTM(8, 4), (2, 4, 8), "LSTM"),
        (nn.Conv2d(3, 4, 3), 0, "input_size must be"),
        ("tiny", 8, "model must be a torch.nn.Module, got str"),
    ],
)
def test_what_can_be_no_export_is_refused(model: Any, size: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        export_onnx(model, size, tmp_path / "m.onnx")


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(
        ImportError, match=r"exporting to \.onnx needs the package 'onnxscript': pip install 'sapool\[onnx\]'"
    ):
        export_onnx(nn.Conv2d(3, 4, 3), 8, tmp_path / "m.onnx")
