from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sapool.export.health import check_health
from tests.export import hand_made
from tests.export.health.images import found, small, small_rows


def test_equal_keys_do_not_sum_to_one(tmp_path: Path) -> None:
    """200 equal keys of 1/200 each round to 1/256: rows sum to 200/256."""
    path = hand_made.soft_max(tmp_path / "m.tflite", 200)
    report = check_health(path, torch.full((2, 200, 4, 1), -0.1))
    (rows,) = (finding for finding in report.findings if finding.check == "softmax_sum")
    assert rows.operator == 1
    assert rows.measured == pytest.approx(1 - 200 / 256)
    assert "8 rows" in rows.message  # 4 of each image


def test_few_keys_are_fine(tmp_path: Path) -> None:
    report = check_health(hand_made.soft_max(tmp_path / "m.tflite", 64, scale=0.05), 30 * small_rows(64))
    assert report.healthy, report.lines()
    assert report.figures.softmax_error is not None
    assert report.figures.softmax_error < 0.05


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


def test_a_dead_tensor_is_named_where_it_dies(tmp_path: Path) -> None:
    report = check_health(hand_made.unary(tmp_path / "m.tflite", "RELU"), small(-1, -0.5))
    assert found(report) == [("dead", "warning", 0)]
    assert report.figures.dead_tensors == 3
