from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sapool.detection import ScatteredBoxes, annotations_of, detect, evaluate_results, write_results

CLASSES = ("cat", "dog", "cow", "hen")


def made_up(seed: int, images: int = 12) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Boxes of all sizes, crowds, images without any, a class without objects; results near them, wrong and missing."""
    rng = np.random.default_rng(seed)
    annotations, results = list[dict[str, Any]](), list[dict[str, Any]]()
    for image in range(1, images + 1):
        for _ in range(int(rng.integers(0, 6))):
            x, y = rng.uniform(0, 200, 2)
            width, height = rng.uniform(8, 150, 2)
            box = [float(v) for v in (x, y, width, height)]
            category = int(rng.choice([3, 7, 8]))
            number = len(annotations) + 1
            crowd = int(rng.random() < 0.15)
            annotations.append(
                {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": width * height * 0.8}
            )
            annotations[-1]["iscrowd"] = crowd
            for _ in range(int(rng.integers(0, 3))):
                moved = [float(v) for v in np.array(box) + rng.normal(0, 6, 4)]
                moved[2:] = [max(v, 1.0) for v in moved[2:]]
                guess = category if rng.random() < 0.8 else 20
                results.append({"image_id": image, "category_id": guess, "bbox": moved, "score": float(rng.random())})
    pairs = zip((3, 7, 8, 20), CLASSES, strict=True)
    truth = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 400, "height": 400} for i in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in pairs],
    }
    return truth, results


@pytest.mark.parametrize("seed", [0, 1])
def test_the_figures_are_pycocotools_own_on_the_same_files(
    seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load = pytest.importorskip("pycocotools.coco").COCO
    make = pytest.importorskip("pycocotools.cocoeval").COCOeval

    truth, results = made_up(seed)
    record = evaluate_results(truth, results)
    assert capsys.readouterr().out == ""
    (tmp_path / "truth.json").write_text(json.dumps({"info": {}, **truth}))
    write_results(results, tmp_path / "found.json")
    coco = load(str(tmp_path / "truth.json"))
    evaluator = make(coco, coco.loadRes(str(tmp_path / "found.json")), "bbox")
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    ours = [record.ap, record.ap50, record.ap75, record.ap_small, record.ap_medium, record.ap_large]
    assert [-1.0 if v is None else v for v in ours] == pytest.approx(evaluator.stats[:6].tolist(), abs=1e-12)
    assert record.ap is not None
    assert 0.05 < record.ap < 0.95
    for k, category in enumerate(evaluator.params.catIds):
        one = make(coco, coco.loadRes(str(tmp_path / "found.json")), "bbox")
        one.params.catIds = [category]
        one.evaluate()
        one.accumulate()
        one.summarize()
        line = record.classes[k]
        got = [-1.0 if v is None else v for v in (line.ap, line.ap50)]
        assert got == pytest.approx(one.stats[:2].tolist(), abs=1e-12)
        assert line.objects == sum(a["category_id"] == category and not a["iscrowd"] for a in truth["annotations"])
    assert record.classes[3].ap is None


def test_nothing_found_is_zero_where_there_was_something() -> None:
    truth, _ = made_up(0)
    far = [{"image_id": 1, "category_id": 20, "bbox": [0.0, 0.0, 1.0, 1.0], "score": 0.5}]
    assert evaluate_results(truth, []) == evaluate_results(truth, far)
    assert evaluate_results(truth, []).ap == 0


def test_the_truth_itself_scores_one() -> None:
    class Knowing(nn.Module):
        def __init__(self, data: ScatteredBoxes) -> None:
            super().__init__()
            self.truth = [data[i][1] for i in range(len(data))]
            self.seen = 0

        def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
            assert not self.training
            found = self.truth[self.seen : self.seen + len(images)]
            self.seen += len(images)
            return [{"boxes": t["boxes"], "labels": t["labels"], "scores": torch.ones(len(t["labels"]))} for t in found]

    data = ScatteredBoxes("val", 96, 10)
    model = Knowing(data)
    results = detect(model, data, batch_size=4)
    record = evaluate_results(annotations_of(data), results)
    assert record.ap == pytest.approx(1)
    assert model.training
    json.loads(record.to_json())
    for result in results:
        result["bbox"][0] += 1000
    assert evaluate_results(annotations_of(data), results).ap == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_id": 99}, "result 0 is of image 99"),
        ({"category_id": 4}, "result 0 is of category 4"),
        ({"image_id": [1]}, r"result 0 is of image \[1\]"),
        *(
            (change, "must have a bbox of four finite numbers and a finite score")
            for change in (
                {"score": float("nan")},
                {"score": "x"},
                {"score": None},
                {"bbox": None},
                {"bbox": [0, 0, 40]},
                {"bbox": [0, 0, "4", 4]},
                {"bbox": "0123"},
            )
        ),
        ({"bbox": [0, 0, -40, 40]}, "must have a width and height of at least 0"),
    ],
)
def test_results_of_something_else_are_refused(change: dict[str, Any], said: str) -> None:
    truth, results = made_up(0)
    with pytest.raises(ValueError, match=said):
        evaluate_results(truth, [{**results[0], **change}])
