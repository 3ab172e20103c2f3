from __future__ import annotations

from pathlib import Path

import pytest

from sapool.memory.flash import flash_bytes_of
from sapool.tflite import read_graph


@pytest.mark.slow
def test_a_files_size_is_estimated_from_its_tensors(exported: Path) -> None:
    assert flash_bytes_of(read_graph(exported)) == pytest.approx(exported.stat().st_size, rel=0.05)
