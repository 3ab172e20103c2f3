from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from sapool.detection import DETECTION_RECIPES, DetectConfig, make_detector, read_detection_recipe
from sapool.networks.tiny import TinyNet
from sapool.training.optimizers import build_schedule


@pytest.mark.parametrize("name", DETECTION_RECIPES)
def test_recipes_of_the_package_are_read(name: str) -> None:
    config = read_detection_recipe(name)
    assert config.detector in name or name == "small"
    assert config == DetectConfig() if name == "small" else config != DetectConfig()


def test_the_authors_faster_rcnn_is_as_published() -> None:
    config = read_detection_recipe("authors-fasterrcnn")
    assert config.image_size == (800, 1333)
    assert (config.optimizer, config.learning_rate, config.momentum) == ("sgd", 0.02, 0.9)
    assert (config.weight_decay, config.clip, config.epochs) == (1e-4, 20, 12)
    assert [round(share * config.epochs) for share in config.milestones] == [8, 11]
    assert config.warmup_steps == 500
    assert len(config.classes) == 8


def test_the_authors_ssdlite_is_as_published() -> None:
    config = read_detection_recipe("authors-ssdlite")
    assert config.image_size == (320, 320)
    assert (config.learning_rate, config.weight_decay, config.epochs, config.batch_size) == (0.015, 4e-5, 20, 16)
    assert config.schedule == "cosine"


def test_another_size_keeps_the_shape_of_the_limit() -> None:
    assert read_detection_recipe("authors-fasterrcnn", input_size=400).image_size == (400, 666)
    assert read_detection_recipe("authors-fasterrcnn", input_size=400, longest_side=500).image_size == (400, 500)
    assert read_detection_recipe("small", input_size=64).image_size == (64, 64)


def test_a_recipe_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("detector: ssdlite\nclasses: [cat, dog]\nepochs: 3\n")
    config = read_detection_recipe(path, epochs=5)
    assert (config.detector, config.classes, config.epochs) == ("ssdlite", ("cat", "dog"), 5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"detector": "yolo"}, "unknown detector 'yolo'"),
        ({"augment": ("flop",)}, "unknown augmentation 'flop': did you mean flip?"),
        ({"label_smoothing": 0.1}, "label_smoothing is for classifiers"),
        ({"mixup_alpha": 0.1}, "mixup_alpha is for classifiers"),
        ({"input_size": 0}, "input_size must be at least 1, got 0"),
        ({"input_size": 100, "longest_side": 90}, "longest_side must be at least input_size (100), got 90"),
        ({"warmup_steps": 5}, "warmup_steps (5) excludes warmup_epochs and the schedule 'one_cycle'"),
        ({"levels": -1}, "levels must"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
    ],
)
def test_mistakes_are_named(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        DetectConfig(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("steps", [10, 500])
def test_the_warm_up_is_so_many_steps(steps: int) -> None:
    config = DetectConfig(schedule="constant", warmup_steps=steps, epochs=4, learning_rate=1.0).with_warmup(10)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    schedule = build_schedule(optimizer, config, 40)
    rates = []
    for _ in range(40):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    ramp = min(steps, 40)  # one that is longer than the run ends with it
    assert rates[:ramp] == pytest.approx([(k + 1) / ramp for k in range(ramp)], rel=1e-4)
    assert rates[ramp:] == [1.0] * (40 - ramp)


def test_normalisation_is_the_detectors() -> None:
    config = DetectConfig(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0), levels=1)
    model = make_detector("small", TinyNet(3, width=0.25), 3, image_size=48, **config.detector_options())
    assert model.transform.image_mean == [0.1, 0.2, 0.3]  # type: ignore[union-attr]
    assert len(model.backbone.strides) == 1  # type: ignore[union-attr, arg-type]
