from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sapool.export import export_int8
from sapool.export.health import HealthLimits, HealthReport, check_health
from sapool.export.health.view import module_path
from sapool.tflite.file import TfliteError
from tests.conftest import images, pooled_net
from tests.export import hand_made


def small(low: float = -1.0, high: float = 1.0, count: int = 4) -> Tensor:
    """Images (N, 2, 4, 4) for the hand-made models."""
    return torch.rand(count, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * (high - low) + low


def found(report: HealthReport) -> list[tuple[str, str, int | None]]:
    return [(finding.check, finding.severity, finding.operator) for finding in report.findings]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small network as int8 and as float32 ``.tflite``."""
    folder = tmp_path_factory.mktemp("health")
    paths = folder / "int8.tflite", folder / "float.tflite"
    export_int8(copy.deepcopy(pooled_net()), [images(32)], folder / "x.tflite", float_path=paths[1], flat_path=paths[0])
    return paths


@pytest.mark.slow
def test_a_sound_network_is_healthy_and_every_layer_is_measured(pair: tuple[Path, Path]) -> None:
    report = check_health(pair[0], images(32), pooled_net(), float_path=pair[1])
    assert report.healthy, report.lines()
    assert not report.notes
    figures = report.figures
    assert figures.softmax_keys == 16
    assert figures.softmax_error is not None
    assert figures.softmax_error < 0.05
    assert (figures.float_operators, figures.lacking_operators, figures.dead_tensors) == (0, 0, 0)
    assert figures.parity_steps is not None
    assert figures.parity_steps <= 1
    assert figures.top1_agreement == 1
    assert all(layer.snr_db is not None and layer.snr_db > 20 for layer in report.layers)
    assert {"stem.2", "pool.restore_norm"} <= {layer.module for layer in report.layers}
    assert report.lines()[0].startswith("healthy, on 32 images: softmax_keys 16")
    assert json.loads(report.to_json())["figures"]["top1_agreement"] == 1


@pytest.mark.slow
def test_images_unlike_the_calibration_are_noticed_where_they_are_cut_off(pair: tuple[Path, Path]) -> None:
    report = check_health(pair[0], images(8) * 3, pooled_net(), float_path=pair[1])
    first = report.findings[0]
    assert (first.check, first.operator, first.module) == ("saturated", 0, "stem.2")
    assert first.measured > first.limit
    assert ("layer_snr", "warning", 0) in found(report)
    assert report.lines()[1].startswith("warning: operator 0 (CONV_2D, 'stem.2'): ")


@pytest.mark.slow
def test_a_network_of_other_weights_disagrees(pair: tuple[Path, Path]) -> None:
    other = pooled_net()
    with torch.no_grad():
        for parameter in other.get_submodule("classifier").parameters():
            parameter.neg_()  # the best class becomes the worst
    report = check_health(pair[0], images(8), other)
    (finding,) = report.findings
    assert (finding.check, finding.operator, finding.measured) == ("top1", None, 0)
    assert any("signal-to-noise" in note for note in report.notes)


def test_equal_keys_do_not_sum_to_one(tmp_path: Path) -> None:
    """200 equal keys of 1/200 each round to 1/256: rows sum to 200/256."""
    path = hand_made.soft_max(tmp_path / "m.tflite", 200)
    report = check_health(path, torch.full((2, 200, 4, 1), -0.1))
    (rows,) = (finding for finding in report.findings if finding.check == "softmax_sum")
    assert rows.operator == 1
    assert rows.measured == pytest.approx(1 - 200 / 256)
    assert "8 rows" in rows.message  # 4 of each image


def small_rows(keys: int) -> Tensor:
    return torch.rand(2, keys, 4, 1, generator=torch.Generator().manual_seed(0)) * 0.1


def test_few_keys_are_fine(tmp_path: Path) -> None:
    report = check_health(hand_made.soft_max(tmp_path / "m.tflite", 64, scale=0.05), 30 * small_rows(64))
    assert report.healthy, report.lines()
    assert report.figures.softmax_error is not None
    assert report.figures.softmax_error < 0.05


def test_too_many_keys_are_an_error_and_what_runs_is_still_looked_at(tmp_path: Path) -> None:
    report = check_health(hand_made.soft_max(tmp_path / "m.tflite", 600), small_rows(600))
    assert found(report) == [("runs", "error", 1), ("softmax_keys", "warning", 1)]
    assert (report.findings[1].measured, report.findings[1].limit) == (600, 256)
    assert [layer.kind for layer in report.layers] == ["RELU"]


def test_a_divisor_that_reaches_zero(tmp_path: Path) -> None:
    report = check_health(hand_made.quotient(tmp_path / "m.tflite"), small(-1, 1))
    assert {("zero_divisor", "error", 1), ("runs", "error", 1)} <= set(found(report))
    assert report.figures.divisor_steps == 0


def test_a_divisor_near_zero_is_a_warning_and_one_far_off_is_none(tmp_path: Path) -> None:
    path = hand_made.quotient(tmp_path / "m.tflite")
    near, far = check_health(path, small(0.5, 12)), check_health(path, small(5, 12))
    assert [f for f in found(near) if f[0] == "zero_divisor"] == [("zero_divisor", "warning", 1)]
    assert near.figures.divisor_steps == round(float(small(0.5, 12).min()) / 0.1)
    assert not [f for f in found(far) if f[0] == "zero_divisor"]


@pytest.mark.parametrize("kind", ["GELU", "SomebodysOwn"])
def test_an_operator_that_tflm_lacks_is_said_once(kind: str, tmp_path: Path) -> None:
    report = check_health(hand_made.unary(tmp_path / "m.tflite", kind), small())
    assert ("tflm_operators", "error", 1) in found(report)
    assert "tflm_runs" not in [finding.check for finding in report.findings]
    assert report.figures.lacking_operators == 1


def test_a_tensor_of_unknown_size(tmp_path: Path) -> None:
    report = check_health(hand_made.unary(tmp_path / "m.tflite", "ABS", (-1, 4, 4, 2)), small())
    assert ("static_shape", "error", 1) in found(report)
    assert report.traced_images == 0


def test_a_float_island_is_named_with_its_operators(tmp_path: Path) -> None:
    report = check_health(hand_made.island(tmp_path / "m.tflite"), small(0, 1))
    (finding,) = report.findings
    assert (finding.check, finding.operator, finding.kind, finding.measured) == ("float_island", 1, "EXP", 3)
    assert "DEQUANTIZE, EXP, QUANTIZE" in finding.message


def test_a_dead_tensor_is_named_where_it_dies(tmp_path: Path) -> None:
    report = check_health(hand_made.unary(tmp_path / "m.tflite", "RELU"), small(-1, -0.5))
    assert found(report) == [("dead", "warning", 0)]
    assert report.figures.dead_tensors == 3


@pytest.mark.parametrize(("scale", "cut"), [(0.01, True), (0.02, False)])
def test_what_is_cut_off_is_counted_against_float32(scale: float, cut: bool, tmp_path: Path) -> None:
    path = hand_made.cut_off(tmp_path / "m.tflite", scale)
    exact = hand_made.float_sum(tmp_path / "f.tflite")
    doubled = 2 * small(-1.2, 1.2, 16)
    report = check_health(path, doubled / 2, float_path=exact, limits=HealthLimits(layer_snr_db=0))
    share = float(((doubled < scale * -136) | (doubled > scale * 135)).float().mean())
    assert report.figures.saturated_share == pytest.approx(share, abs=1e-6)
    assert found(report) == ([("saturated", "warning", 0)] if cut else [])


def test_without_a_float_file_the_pile_at_an_end_tells(tmp_path: Path) -> None:
    wide = small(-1.2, 1.2, 16)
    assert found(check_health(hand_made.cut_off(tmp_path / "m.tflite", 0.01), wide)) == [("saturated", "warning", 0)]
    assert check_health(hand_made.cut_off(tmp_path / "n.tflite", 0.02), wide).healthy


def test_a_limit_is_the_callers(tmp_path: Path) -> None:
    path, strict = hand_made.soft_max(tmp_path / "m.tflite", 64), replace(HealthLimits(), softmax_keys=63)
    assert ("softmax_keys", "warning", 1) in found(check_health(path, small_rows(64), limits=strict))


def test_snr_is_the_formula(tmp_path: Path) -> None:
    path, exact = hand_made.cut_off(tmp_path / "m.tflite", 0.02), hand_made.float_sum(tmp_path / "f.tflite")
    x = small(-1, 1, 3)
    steps = np.clip(np.round(x.numpy().astype(np.float64) / 0.01), -128, 127)  # x + x in steps of 0.02 adds no error
    expected, got = 2 * x.numpy().astype(np.float64), 0.02 * steps
    snr = 10 * np.log10(np.square(expected).sum() / np.square(got - expected).sum())
    report = check_health(path, x, float_path=exact)
    assert report.figures.worst_layer_snr_db == pytest.approx(snr, abs=0.3)
    assert report.layers[0].module == "blocks"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (torch.zeros(2, 2, 5, 4), r"takes images of \(4, 4, 2\) \(H, W, C\), got \(5, 4, 2\)"),
        (torch.zeros(2, 4, 4), r"shape \(N, C, H, W\)"),
        (torch.zeros(0, 2, 4, 4), "at least one image"),
        (torch.zeros(1, 2, 4, 4, dtype=torch.uint8), "float tensor"),
    ],
)
def test_images_it_cant_take_are_refused(given: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        check_health(hand_made.quotient(tmp_path / "m.tflite"), given)


def test_what_is_no_tflite_is_refused(tmp_path: Path) -> None:
    path = hand_made.quotient(tmp_path / "m.tflite")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(TfliteError, match=r"m\.tflite"):
        check_health(path, small())


def test_the_converters_names_lead_to_modules() -> None:
    chain = "a.b.Wrapper/tests.Net_wrapped/torch.nn.Sequential_stem/torch.nn.Conv2d_0;;more;1"
    assert module_path(chain) == "stem.0"
    assert module_path("a.Wrapper/tests.Net_wrapped/timm._DenseLayer_denselayer1;2") == "denselayer1"
    assert module_path("Conv2d_0;2") == ""
    assert module_path("arith.constant3") == ""


def test_a_reference_with_other_outputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must map images to"):
        check_health(
            hand_made.cut_off(tmp_path / "m.tflite", 0.02), small(), nn.Sequential(nn.Flatten(), nn.Linear(32, 5))
        )
