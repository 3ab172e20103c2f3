from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sapool.base.records import ArenaRecord
from sapool.detection import DetectConfig
from sapool.training import save_weights
from sapool.workflows.detect import DetectorRun, DetectRequest, measure_untrained, plan_detector, read_detector
from sapool.workflows.folder import RECORD, WEIGHTS
from tests.detection.tiny import SIDE, coco_folder

RECIPE = DetectConfig(input_size=SIDE, epochs=1, batch_size=4, seed=3)


@pytest.fixture(scope="module")
def request_of(tmp_path_factory: pytest.TempPathFactory) -> DetectRequest:
    data = str(coco_folder(tmp_path_factory.mktemp("coco")))
    return DetectRequest("sapool:tiny_025", data, plan_detector("sapool:tiny_025", RECIPE, "avg"), RECIPE)


def test_a_request_comes_back_from_json(request_of: DetectRequest) -> None:
    for one in (request_of, replace(request_of, plan=None, skip_bad=True, train_images=5)):
        assert DetectRequest.from_dict(json.loads(json.dumps(one.to_dict()))) == one


def test_the_default_folder_names_what_the_run_is_of(request_of: DetectRequest) -> None:
    one = replace(request_of, data="scattered-digits", model="timm:mobilenetv2_035")
    name = f"scattered-digits_{RECIPE.detector}_timm-mobilenetv2_035_avg_{SIDE}px_modern"
    assert one.default_folder("recipes/modern.yaml") == Path("runs") / name
    assert "_as-is_" in replace(one, plan=None).default_folder("modern").name


def test_the_plan_is_of_the_recipes_image(request_of: DetectRequest) -> None:
    assert request_of.plan is not None
    assert request_of.plan.input_size == (3, SIDE, SIDE)
    assert {site.pool for site in request_of.plan.sites[1:]} == {"avg"}


def test_the_first_weights_are_the_seeds(request_of: DetectRequest) -> None:
    one, same = (request_of.detector(10).state_dict() for _ in range(2))
    other = replace(request_of, recipe=replace(RECIPE, seed=4)).detector(10).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_a_finished_folder_is_read_and_its_weights_put_back(request_of: DetectRequest, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no finished detector: record\.json and weights\.safetensors are not"):
        read_detector(tmp_path)
    model = request_of.detector(10)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    save_weights(model, tmp_path / WEIGHTS)
    held = {"arena": ArenaRecord(2000, 1000, 3000, 5000, ("CONV_2D",), "none").__dict__, "reason": None}
    result = {"test": {"ap": 0.25, "ap50": 0.5}}
    classes = [str(digit) for digit in range(10)]
    record = {"config": request_of.to_dict(), "result": result, "data": {"classes": classes}, "backbone": held}
    (tmp_path / RECORD).write_text(json.dumps(record))
    run = read_detector(tmp_path)
    assert (run.request, run.ap, run.ap50, run.classes) == (request_of, 0.25, 0.5, tuple(classes))
    assert run.arena is not None
    assert run.arena.arena_bytes == 3000
    read, first = run.detector(), next(iter(model.state_dict()))
    assert not read.training
    assert torch.equal(read.state_dict()[first], model.state_dict()[first])
    (tmp_path / RECORD).write_text(json.dumps({**record, "config": {"model": "x"}}))
    with pytest.raises(ValueError, match=r"record\.json is no record of sapool detect train \(KeyError: 'recipe'\)"):
        read_detector(tmp_path)


def test_what_was_not_measured_has_no_arena(request_of: DetectRequest, tmp_path: Path) -> None:
    record = {"backbone": {"arena": None, "reason": "why"}, "result": {"test": {"ap": None, "ap50": None}}}
    run = DetectorRun(tmp_path, request_of, (), record)
    assert (run.arena, run.ap, run.ap50) == (None, 0.0, 0.0)


@pytest.mark.slow
def test_earlier_strides_need_less_arena(request_of: DetectRequest) -> None:
    small = replace(request_of, plan=plan_detector(request_of.model, RECIPE, "avg", (4, 2, 2, 1)))
    data = request_of.splits()
    assert measure_untrained(small, data).arena_bytes < measure_untrained(request_of, data).arena_bytes
