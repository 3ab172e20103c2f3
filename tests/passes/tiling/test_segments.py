from __future__ import annotations

from pathlib import Path

import pytest

from sapool.passes.tiling.choose import FORMS, Form
from sapool.passes.tiling.segments import TileableNetwork
from tests.passes.tiling.networks import inverted_residuals, tiled
from tests.passes.tiling.small_files import VALID, SmallFile, run_both


@pytest.mark.slow
def test_two_outputs_and_a_source_that_lives_on(tmp_path: Path) -> None:
    """Only the convolution and both branches are tiled; what joins them reads whole maps, and the stem again."""
    f = SmallFile(40, 40)
    stem = f.conv(f.input, 8, 3)
    branch = f.pool(f.conv(stem, 8, 3, 2), 2, 2)
    embedded = f.conv(stem, 8, 4, 4, VALID)
    joined = f.join("ADD", branch, embedded)
    model = f.finish(f.join("ADD", joined, f.pool(stem, 4, 4)))
    expected = run_both(model, tmp_path / "whole.tflite")
    segment = next(s for s in TileableNetwork(model).segments(stem) if s.last == 3)
    assert segment.outputs == (branch, embedded)
    for form in FORMS:
        got = run_both(tiled(model, form, 3, 3, segment), tmp_path / "tiled.tflite")
        assert all((a == b).all() for a, b in zip(got, expected, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_an_output_that_the_segment_itself_reads_too(form: Form, tmp_path: Path) -> None:
    """The cut is inside a residual: its shortcut is an output beside the wide map that is computed from it."""
    model = inverted_residuals(40)
    expected = run_both(model, tmp_path / "whole.tflite")
    segment = next(s for s in TileableNetwork(model).segments(model.inputs[0]) if s.last == 4)
    assert len(segment.outputs) == 2
    got = run_both(tiled(model, form, 3, 4, segment), tmp_path / "tiled.tflite")
    assert all((a == b).all() for a, b in zip(got, expected, strict=True))
