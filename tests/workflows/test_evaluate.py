"""What is counted is what a loop over the images counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import Tensor
from torch.utils.data import Dataset

from sapool.export import run_images
from sapool.tflite import TfliteError
from sapool.training import DataSplits
from sapool.workflows.evaluate import Evaluation, evaluate_model
from tests.conftest import images, pooled_net


class Shown(Dataset[tuple[Tensor, int]]):
    def __init__(self, classes: int) -> None:
        self.images, self.classes = images(24), classes

    def __len__(self) -> int:
        return 24

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        return self.images[place], place % self.classes


def splits(classes: int = 4) -> DataSplits:
    data = Shown(classes)
    return DataSplits("made", data, data, data, classes, 24, tuple("abcdefgh"[:classes]))


@pytest.mark.parametrize("engine", ["litert", "tflm"])
def test_it_counts_what_a_loop_counts(exported: Path, engine: str) -> None:
    found = evaluate_model(exported, splits(), engine=engine, network=pooled_net(), images=12)  # type: ignore[arg-type]
    wanted = np.zeros((4, 4), int)
    network, alike, right = pooled_net(), 0, 0
    for place in range(0, 24, 2):
        image = images(24)[place : place + 1]
        answer = int(run_images(exported, image, engine)[0].argmax())  # type: ignore[arg-type]
        floats = int(network(image).argmax())
        wanted[place % 4, answer] += 1
        alike, right = alike + (floats == answer), right + (floats == place % 4)
    assert np.array(found.confusion).tolist() == wanted.tolist()
    assert (found.images, found.right) == (12, int(np.trace(wanted)))
    assert found.agreement == alike / 12
    assert found.float_accuracy == right / 12
    assert found.milliseconds > 0


def test_shares_of_each_class() -> None:
    found = Evaluation("m", "d", "test", "litert", ("a", "b", "c"), ((8, 2, 0), (1, 9, 0), (0, 0, 0)), None, None, 1.0)
    assert found.accuracy == 17 / 20
    assert found.recalls() == (0.8, 0.9, None)
    assert found.precisions() == (8 / 9, 9 / 11, None)
    assert not found.guessing
    assert Evaluation("m", "d", "test", "litert", ("a", "b"), ((10, 0), (10, 0)), None, None, 1.0).guessing


def test_mistakes(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has 4 outputs, made has 3 classes"):
        evaluate_model(exported, splits(3))
    with pytest.raises(ValueError, match="images must be at least 1, got 0"):
        evaluate_model(exported, splits(), images=0)
    (tmp_path / "x.tflite").write_text("no model")
    with pytest.raises(TfliteError, match=r"x\.tflite"):
        evaluate_model(tmp_path / "x.tflite", splits())
