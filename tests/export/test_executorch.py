from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import sapool
from sapool.export import ExportError, randomize_norms
from sapool.export.executorch import export_executorch
from sapool.export.onnx import ERROR_LIMIT
from sapool.layers import create_pool
from tests.conftest import PooledNet

installed = pytest.mark.skipif(importlib.util.find_spec("executorch") is None, reason="executorch is not installed")


def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("executorch.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "executorch", None)
    with pytest.raises(ImportError) as caught:
        export_executorch(nn.Conv2d(3, 4, 3), 8, tmp_path / "m.pte")
    said = "exporting to .pte needs the package 'executorch': pip install 'sapool[executorch]'"
    assert str(caught.value) == said
    assert not list(tmp_path.iterdir())


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model must be a torch\.nn\.Module, got str"):
        export_executorch("tiny", 8, tmp_path / "m.pte")  # type: ignore[arg-type]


@installed
@pytest.mark.slow
@pytest.mark.parametrize("pool", ["self_attentive", "max"])
def test_a_planned_network_is_the_same_in_executorch(pool: str, tmp_path: Path) -> None:
    model = sapool.load_model("sapool:tiny", 10)
    net = randomize_norms(sapool.apply_plan(model, sapool.make_plan(model, 32, pool, [4, 2, 1, 1])).model)
    record = export_executorch(net, 32, tmp_path / "m.pte")
    assert record.flash_bytes == (tmp_path / "m.pte").stat().st_size
    assert record.delegates >= 1
    assert record.float_error is not None
    assert record.float_error <= ERROR_LIMIT


@installed
@pytest.mark.slow
def test_what_xnnpack_does_not_take_is_listed(tmp_path: Path) -> None:
    record = export_executorch(PooledNet(create_pool("space_to_depth", 8, 2)), 16, tmp_path / "m.pte")
    assert any(name.startswith("aten.") for name in record.portable)
    assert record.runtime.startswith("executorch ")


@installed
@pytest.mark.slow
def test_what_does_not_lower_is_one_line_with_its_module(tmp_path: Path) -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if x.sum() > 0 else x

    torch.manual_seed(0)
    with pytest.raises(ExportError, match=r"ExecuTorch can't lower Sequential: module '1' \(Branching\)") as caught:
        export_executorch(nn.Sequential(nn.ReLU(), Branching()), 8, tmp_path / "m.pte")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
