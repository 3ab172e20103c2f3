from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sapool.export.health import HealthLimits, check_health
from tests.export import hand_made
from tests.export.health.images import found, small_rows


def test_a_limit_is_the_callers(tmp_path: Path) -> None:
    path, strict = hand_made.soft_max(tmp_path / "m.tflite", 64), replace(HealthLimits(), softmax_keys=63)
    assert ("softmax_keys", "warning", 1) in found(check_health(path, small_rows(64), limits=strict))
