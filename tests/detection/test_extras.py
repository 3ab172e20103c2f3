from __future__ import annotations

from tests.detection.networks import tiny


def test_ssdlite_adds_levels_down_to_one_cell() -> None:
    # 320 px: 40 cells at stride 8, then 20, 10, 5, 3, 2 ... as far as channels are given
    assert tiny("ssdlite", size=320).backbone.strides == (8, 16, 32, 64, 128, 256)
    assert tiny("ssdlite", size=32).backbone.strides == (8, 16, 32)
