"""Tiled files on both interpreters: the same output bits, whatever the operators, the sizes and the tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.passes.tiling.networks import NETWORKS, longest, tiled
from tests.passes.tiling.small_files import run_both


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_bits_on_both_interpreters(name: str, tmp_path: Path) -> None:
    model = NETWORKS[name]()
    assert len(longest(model).operators) == len(model.operators)
    expected = run_both(model, tmp_path / "whole.tflite")
    assert all(len(np.unique(values)) > 50 for values in expected)  # not all saturated
    for form, rows, columns in (("loop", 3, 2), ("unrolled", 2, 3)):
        got = run_both(tiled(model, form, rows, columns), tmp_path / "tiled.tflite")  # type: ignore[arg-type]
        for engine in (0, 1):
            np.testing.assert_array_equal(got[engine], expected[engine], err_msg=f"{form} on engine {engine}")
