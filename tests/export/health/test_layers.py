from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sapool.export.health import HealthLimits, check_health
from tests.export import hand_made
from tests.export.health.images import found, small


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


def test_snr_is_the_formula(tmp_path: Path) -> None:
    path, exact = hand_made.cut_off(tmp_path / "m.tflite", 0.02), hand_made.float_sum(tmp_path / "f.tflite")
    x = small(-1, 1, 3)
    steps = np.clip(np.round(x.numpy().astype(np.float64) / 0.01), -128, 127)  # x + x in steps of 0.02 adds no error
    expected, got = 2 * x.numpy().astype(np.float64), 0.02 * steps
    snr = 10 * np.log10(np.square(expected).sum() / np.square(got - expected).sum())
    report = check_health(path, x, float_path=exact)
    assert report.figures.worst_layer_snr_db == pytest.approx(snr, abs=0.3)
    assert report.layers[0].module == "blocks"
