from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from sapool.detection import train_detector
from sapool.detection.module import DetectorModule, gather_results
from sapool.layers import SelfAttentivePool2d
from tests.detection.tiny import QUICK, coco_folder, detector, splits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coco_folder(tmp_path_factory.mktemp("coco"))


def test_frozen_norms_stay_but_those_of_pools_learn(folder: Path, tmp_path: Path) -> None:
    model = detector("self_attentive")
    pools = [m for m in model.get_submodule("backbone").modules() if isinstance(m, SelfAttentivePool2d)]
    inside = {id(part) for pool in pools for part in pool.modules()}
    norms = {name: m for name, m in model.get_submodule("backbone").named_modules() if isinstance(m, nn.BatchNorm2d)}
    before = {name: (m.running_mean.clone(), m.weight.clone()) for name, m in norms.items()}  # type: ignore[union-attr]
    train_detector(model, splits(folder), replace(QUICK, freeze_norms=True), tmp_path)
    moved = {name for name, m in norms.items() if not torch.equal(m.running_mean, before[name][0])}  # type: ignore[arg-type]
    assert moved == {name for name, m in norms.items() if id(m) in inside} != set()
    assert all(torch.equal(m.weight, before[name][1]) for name, m in norms.items() if name not in moved)


def test_validation_sees_the_networks_own_answers(folder: Path) -> None:
    """The module's AP is the evaluator's on what the detector answers, image by image."""
    data, model = splits(folder), detector()
    module = DetectorModule(model.eval(), QUICK, 1, data.truth("val"), data.val.category_ids)
    pairs = [data.val[index] for index in range(len(data.val))]
    module.validation_step(([image for image, _ in pairs], [target for _, target in pairs]), 0)
    assert {r["image_id"] for r in module._found} <= {int(target["image_id"]) for _, target in pairs}
    assert gather_results(module._found) == sorted(module._found, key=lambda r: r["image_id"])
