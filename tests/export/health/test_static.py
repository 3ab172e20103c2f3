from __future__ import annotations

from pathlib import Path

import pytest

from sapool.export.health import check_health
from tests.export import hand_made
from tests.export.health.images import found, small, small_rows


def test_too_many_keys_are_an_error_and_what_runs_is_still_looked_at(tmp_path: Path) -> None:
    report = check_health(hand_made.soft_max(tmp_path / "m.tflite", 600), small_rows(600))
    assert found(report) == [("runs", "error", 1), ("softmax_keys", "warning", 1)]
    assert (report.findings[1].measured, report.findings[1].limit) == (600, 256)
    assert [layer.kind for layer in report.layers] == ["RELU"]


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
