"""The C engine's figures from PyTorch against those of the exported file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sapool.export import build_c, export_int8, randomize_norms
from sapool.networks.load import load_model
from sapool.passes import FLAT_PASSES, PASSES
from sapool.planning.plan import make_plan
from sapool.planning.surgery import apply_plan
from sapool.predict.c_engine import profile_c


@pytest.mark.slow
def test_a_prediction_is_what_the_export_needs_to_the_byte(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = load_model("sapool:tiny", 10)
    planned = apply_plan(net, make_plan(net, 32, "self_attentive", (2, 2, 2, 1))).model
    predicted = profile_c(planned, 32)
    path = tmp_path / "model.tflite"
    export_int8(randomize_norms(planned), [torch.rand(4, 3, 32, 32)], path, passes=(*PASSES, *FLAT_PASSES))
    measured = profile_c(path)
    assert (predicted.ram_bytes, predicted.macs) == (measured.ram_bytes, measured.macs)
    program = build_c(path, tmp_path / "c")
    assert (program.ram_bytes, program.stack_bytes) == (measured.ram_bytes, measured.stack_bytes)


def test_a_network_needs_a_size() -> None:
    with pytest.raises(ValueError, match="needs input_size"):
        profile_c(load_model("sapool:tiny", 10))
    with pytest.raises(ValueError, match="goes with a network"):
        profile_c("model.tflite", 32)
