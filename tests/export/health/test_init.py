from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sapool.export import export_int8
from sapool.export.health import check_health
from sapool.tflite import TfliteError
from tests.conftest import images, pooled_net
from tests.export import hand_made
from tests.export.health.images import found, small


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


def test_a_reference_with_other_outputs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must map images to"):
        check_health(
            hand_made.cut_off(tmp_path / "m.tflite", 0.02), small(), nn.Sequential(nn.Flatten(), nn.Linear(32, 5))
        )
