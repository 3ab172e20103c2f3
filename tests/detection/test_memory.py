from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sapool.detection import FeatureMaps, JoinedMaps, plan_backbone, planned_features, profile_backbone
from sapool.export import check_parity, export_int8, measure_arena, randomize_norms
from sapool.networks.load import load_model


def test_a_pooled_stem_needs_less_than_a_map_of_twice_the_side() -> None:
    backbone = load_model("sapool:tiny", 3)
    plain = profile_backbone(backbone, 64, levels=2)
    pooled = profile_backbone(backbone, 64, plan_backbone(backbone, 64, "max", (2, 4, 2, 2)), levels=2)
    assert pooled.head_bytes < plain.head_bytes
    # Heads that read a finer map keep it alive until the last is there.
    assert profile_backbone(backbone, 64, levels=3).head_bytes >= plain.head_bytes


@pytest.mark.slow
def test_a_backbone_runs_on_the_micro_controller_as_predicted(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = load_model("sapool:tiny", 3)
    plan = plan_backbone(backbone, 64, "self_attentive")
    features = FeatureMaps(planned_features(backbone, 64, plan), 2)
    randomize_norms(features)
    joined = JoinedMaps(features).eval()
    images = torch.rand(8, 3, 64, 64)
    maps = features.eval()(images[:1])
    with torch.no_grad():
        flat = joined(images[:1])
    level = list(maps.values())[-1]
    expected = level[0].permute(1, 2, 0).flatten()
    torch.testing.assert_close(flat[0, -level[0].numel() :], expected)
    path = tmp_path / "backbone.tflite"
    record = export_int8(joined, [images], path)
    assert record.int8_snr_db is not None
    assert record.int8_snr_db > 20
    assert check_parity(path, images[:2]).max_steps <= 1
    measured = measure_arena(path)
    profile = profile_backbone(backbone, 64, plan, levels=2)
    assert profile.head_bytes <= measured.head_bytes
    assert profile.total_bytes == pytest.approx(measured.total_bytes, rel=0.02)
