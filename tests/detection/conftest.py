from __future__ import annotations

from pathlib import Path

import pytest

from sapool.detection import ScatteredBoxes, write_coco


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_coco(ScatteredBoxes("val", 96, 5, sides=(24,), digits=(2, 2)), tmp_path, "val")
    return tmp_path
