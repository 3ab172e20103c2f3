from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from sapool.export.executorch import export_executorch
from sapool.export.finite import why_not_finite
from sapool.export.litert import ExportError, export_int8
from sapool.export.onnx import export_onnx
from sapool.networks.load import load_model


@pytest.mark.parametrize(
    ("name", "value"),
    [("stem.0.weight", float("inf")), ("classifier.bias", float("nan")), ("stem.1.running_var", -float("inf"))],
)
def test_what_is_no_number_is_named(name: str, value: float) -> None:
    model = load_model("sapool:tiny", 10)
    assert why_not_finite(model) is None
    tensor = model.state_dict()[name]
    tensor.view(-1)[0] = value
    why = why_not_finite(model)
    assert why is not None
    assert why.startswith(f"{name} must be finite, got 1 of {tensor.numel():,} values NaN or infinite")


def test_an_infinite_mask_is_no_weight() -> None:
    model = nn.Linear(2, 2)
    model.register_buffer("mask", torch.full((2, 2), -float("inf")))
    assert why_not_finite(model) is None


@pytest.mark.parametrize("extra", ["litert", "onnx", "executorch"])
def test_every_export_refuses_it_and_writes_nothing(extra: str, tmp_path: Path) -> None:
    model, path = load_model("sapool:tiny", 10).eval(), tmp_path / "out"
    with torch.no_grad():
        next(model.parameters()).view(-1)[3] = float("nan")
    exports: dict[str, Callable[[], object]] = {
        "litert": lambda: export_int8(model, [torch.rand(1, 3, 32, 32)], path),
        "onnx": lambda: export_onnx(model, 32, path),
        "executorch": lambda: export_executorch(model, 32, path),
    }
    if extra == "executorch":
        pytest.importorskip("executorch")
    with pytest.raises(ExportError, match="must be finite"):
        exports[extra]()
    assert not list(tmp_path.iterdir())
