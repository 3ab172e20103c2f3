from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sapool.export import check_parity, run_images
from sapool.export.runtime.parity import dequantize, quantize_images
from sapool.tflite import read_graph
from sapool.tflite.ends import input_output
from tests.export import hand_made


def test_images_become_the_models_own_input(tmp_path: Path) -> None:
    taken, made = input_output(read_graph(hand_made.cut_off(tmp_path / "m.tflite", 0.02)))
    images = torch.tensor([0.004, 0.006, -0.3, 5.0, -5.0, 0.0, 0.01, 0.02]).repeat(4).view(1, 2, 4, 4)
    given = quantize_images(taken, images)
    assert given.dtype == np.int8
    assert given.shape == (1, 4, 4, 2)
    flat = given[0].transpose(2, 0, 1).flatten()[:8]
    assert flat.tolist() == [0, 1, -30, 127, -128, 0, 1, 2]  # steps of 0.01, cut off at the ends of int8
    np.testing.assert_allclose(dequantize(made, np.array([-3, 7], np.int8)), [-0.06, 0.14], rtol=1e-6)


def test_floats_stay_as_they_are(tmp_path: Path) -> None:
    taken, made = input_output(read_graph(hand_made.float_sum(tmp_path / "m.tflite")))
    images = torch.rand(2, 2, 4, 4)
    given = quantize_images(taken, images)
    np.testing.assert_array_equal(given, images.permute(0, 2, 3, 1).numpy())
    assert dequantize(made, given) is not None
    np.testing.assert_array_equal(dequantize(made, given), given)


@pytest.mark.slow
def test_both_interpreters_double(tmp_path: Path) -> None:
    path = hand_made.cut_off(tmp_path / "m.tflite", 0.02)
    images = torch.rand(3, 2, 4, 4) * 2 - 1
    for engine in ("tflm", "litert"):
        outputs = run_images(path, images, engine)
        steps = np.round(images.permute(0, 2, 3, 1).numpy() / 0.01)
        np.testing.assert_array_equal(outputs.reshape(steps.shape), np.clip(steps, -128, 127))
    parity = check_parity(path, images)
    assert (parity.max_steps, parity.images) == (0, 3)
