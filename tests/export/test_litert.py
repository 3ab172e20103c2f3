from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import Tensor, nn

import sapool
from sapool.export import (
    PASSES,
    ExportError,
    check_parity,
    export_int8,
    measure_arena,
    randomize_norms,
    run_images,
)
from sapool.export.runtime.parity import dequantize
from sapool.tflite import read_graph
from sapool.tflite.ends import input_output
from tests.conftest import images, pooled_net


@pytest.mark.slow
def test_export_takes_channel_last_int8_and_answers_like_the_network(tmp_path: Path) -> None:
    model, path = pooled_net(), tmp_path / "m.tflite"
    record = export_int8(model, (batch for batch in images(16).split(5)), path)
    details = Interpreter(str(path)).get_input_details()[0]
    assert tuple(details["shape"]) == (1, 32, 32, 3)
    assert details["dtype"] == np.int8
    assert record.flash_bytes == path.stat().st_size
    assert record.float_error < 5e-3
    assert record.int8_snr_db is not None
    assert record.int8_snr_db > 25
    assert check_parity(path, images(16)).max_steps == 0


@pytest.mark.slow
def test_the_int8_range_holds_what_a_single_image_reaches(tmp_path: Path) -> None:
    model, path = (
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 6 * 6, 4)).eval(),
        tmp_path / "m",
    )
    faint = 0.02 * images(31, 8)
    bright = images(1, 8)
    record = export_int8(model, [torch.cat([faint[:5], bright, faint[5:]])], path)
    assert record.int8_snr_db is not None
    scores = model(bright).detach()
    held = dequantize(input_output(read_graph(path))[1], run_images(path, bright))
    step = float(scores.max() - scores.min()) / 255
    assert float(np.abs(held - scores.numpy()).max()) < 8 * step  # half the range is gone where the image is cut off


@pytest.mark.slow
def test_planned_networks_export_and_run_in_tflm(tmp_path: Path) -> None:
    model = sapool.load_model("sapool:tiny", 10)
    for pool in ("self_attentive", "max", "avg", "strided"):
        net = sapool.apply_plan(model, sapool.make_plan(model, 32, pool, [4, 2, 1, 1])).model
        path = tmp_path / f"{pool}.tflite"
        record = export_int8(randomize_norms(net), [images(4)], path)
        assert measure_arena(path).total_bytes > 0
        assert check_parity(path, images(4)).max_steps <= 1
        assert record.int8_snr_db is not None
        assert record.int8_snr_db > 15, pool


@pytest.mark.slow
def test_the_network_is_left_as_it_was(tmp_path: Path) -> None:
    model = pooled_net().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    export_int8(model, [images(4)], tmp_path / "m.tflite")
    assert model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.branch = nn.Sequential(nn.Conv2d(8, 32, 1), nn.ReLU(), nn.Conv2d(32, 8, 1), nn.BatchNorm2d(8))
        nn.init.zeros_(self.branch[-1].weight)  # type: ignore[arg-type]
        self.classifier = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        return self.classifier((x + self.branch(x)).mean((2, 3)))


@pytest.mark.slow
def test_a_branch_that_starts_at_zero_is_measured_once_norms_are_randomised(tmp_path: Path) -> None:
    folded, whole = tmp_path / "folded.tflite", tmp_path / "whole.tflite"
    # Without the passes on the file, which make up for much of the difference.
    export_int8(Residual().eval(), [images(4)], folded, passes=list(PASSES))
    export_int8(randomize_norms(Residual().eval()), [images(4)], whole, passes=list(PASSES))
    assert measure_arena(whole).head_bytes > 1.5 * measure_arena(folded).head_bytes


@pytest.mark.parametrize(
    ("calibration", "said"),
    [
        ([images(2), images(2, 16)], r"one size \(C, H, W\), got \(3, 32, 32\) and \(3, 16, 16\)"),
        ([torch.full((1, 3, 32, 32), float("nan"))], "must be finite"),
        ([torch.zeros(1, 1, 32, 32)], r"PooledNet can't take images of \(1, 32, 32\)"),
        ([], "at least one image"),
        ([torch.zeros(3, 32, 32)], r"shape \(N, C, H, W\)"),
        ([images().byte()], "float tensors"),
    ],
)
def test_bad_calibration_is_refused(calibration: list[Tensor], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        export_int8(pooled_net(), calibration, tmp_path / "m.tflite")
    assert not (tmp_path / "m.tflite").exists()


def test_a_network_that_gives_no_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="scores"):
        export_int8(nn.Conv2d(3, 4, 3), [images()], tmp_path / "m.tflite")


@pytest.mark.slow
def test_what_the_converter_refuses_is_one_line_and_no_file(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.svd(x.mean(1)).S

    with pytest.raises(ExportError, match="the converter refuses Odd: ") as caught:
        export_int8(Odd(), [images(2)], tmp_path / "m.tflite")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
