from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sapool.export import export_int8, run_images
from sapool.passes import PASSES
from sapool.tflite import read_graph
from tests.conftest import images, pooled_net


@pytest.mark.slow
def test_the_matrix_product_rewrite_is_the_same_function(tmp_path: Path) -> None:
    """The same sums: only the rounding of FULLY_CONNECTED goes."""
    model = pooled_net()
    for label, passes in (("fc", list(PASSES)), ("bmm", "all")):
        export_int8(model, [images()], tmp_path / f"{label}.tflite", passes=passes)
    data = {label: (tmp_path / f"{label}.tflite").read_bytes() for label in ("fc", "bmm")}
    assert read_graph(data["fc"]).kinds()["FULLY_CONNECTED"] == 5
    assert read_graph(data["bmm"]).kinds()["FULLY_CONNECTED"] == 1
    assert read_graph(data["bmm"]).kinds()["BATCH_MATMUL"] == 4
    difference = run_images(tmp_path / "fc.tflite", images()).astype(int) - run_images(
        tmp_path / "bmm.tflite", images()
    )
    assert np.abs(difference).max() <= 1
