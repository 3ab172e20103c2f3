from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from typer.testing import CliRunner

from sapool.cli import app
from sapool.workflows.detect import read_detector
from tests.detection.tiny import SIDE, coco_folder

QUICK = ["--input-size", str(SIDE), "--batch-size", "4", "--no-tensorboard", "--model", "sapool:tiny_025"]


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["detect", *arguments], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return coco_folder(tmp_path_factory.mktemp("coco"))


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detect") / "run"
    done = call(
        "train", *QUICK, "--data", str(data), "--epochs", "6", "--pool", "avg", "--no-measure", "--out", str(folder)
    )
    assert done.exit_code == 0, done.output
    assert "AP50" in done.stdout
    assert f"go on with: sapool detect predict {folder}" in done.stdout
    return folder


def test_the_folder_holds_everything(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {"config.json", "checkpoints", "logs", "weights.safetensors", "results-test.json", "record.json"}
    record = json.loads((finished / "record.json").read_text())
    assert record["config"] == json.loads((finished / "config.json").read_text())
    assert record["data"]["train"] == 8
    assert record["config"]["plan"]["sites"][1]["pool"] == "avg"


def test_a_finished_run_is_read_back(data: Path, finished: Path) -> None:
    same = ["train", *QUICK, "--data", str(data), "--pool", "avg", "--out", str(finished), "--json"]
    done = call(*same, "--epochs", "6")
    assert json.loads(done.stdout) == json.loads((finished / "record.json").read_text())
    other = call(*same, "--epochs", "7")
    assert isinstance(other.exception, ValueError)
    assert "recipe.epochs is 6 there, 7 here" in str(other.exception)


def held(path: Path) -> Any:
    return json.loads(path.read_text())


def test_eval_repeats_the_records_figures_as_pycocotools_has_them(data: Path, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    done = call("eval", str(finished), "--out", str(out), "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found == json.loads((finished / "record.json").read_text())["result"]["test"]
    # Not to the last bit: a convolution's sums may come in another order in another process.
    for one, other in zip(json.loads(out.read_text()), held(finished / "results-test.json"), strict=True):
        assert (one["image_id"], one["category_id"]) == (other["image_id"], other["category_id"])
        assert [*one["bbox"], one["score"]] == pytest.approx([*other["bbox"], other["score"]], abs=1e-5)
    again = call("eval", str(finished), "--out", str(out))
    assert "found.json exists; choose another --out or say --force" in str(again.exception)
    annotations = data / "annotations" / "instances_test.json"
    files = call("eval", "--annotations", str(annotations), "--results", str(out), "--json")
    assert json.loads(files.stdout) == found
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        judge = COCOeval(truth, truth.loadRes(str(out)), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    assert [found["ap"], found["ap50"], found["ap75"]] == pytest.approx(list(judge.stats[:3]), abs=1e-12)


def test_validation_can_be_evaluated(finished: Path) -> None:
    done = call("eval", str(finished), "--split", "val")
    assert done.exit_code == 0
    assert "run: 5 images" in done.stdout
    assert "objects" in done.stdout


def test_predict_draws_every_image(data: Path, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "drawn"
    done = call("predict", str(finished), str(data / "test"), "--out", str(out), "--min-score", "0.05")
    assert done.exit_code == 0, done.output
    assert len(list(out.glob("*.png"))) == 5
    assert len(json.loads((out / "results.json").read_text())) == 5
    again = ["predict", str(finished), str(data / "test"), "--out", str(out)]
    assert "results.json exists; choose another --out or say --force" in str(call(*again).exception)
    assert call(*again, "--force").exit_code == 0


def test_the_detector_comes_back_from_the_folder(finished: Path) -> None:
    run = read_detector(finished)
    assert run.request.recipe.input_size == SIDE
    assert run.classes == tuple("0123456789")
    assert run.arena is None  # --no-measure
    assert not run.detector().training


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["eval"], "name a folder of sapool detect train, or both --annotations and --results"),
        (["eval", "nowhere"], "nowhere holds no finished detector"),
        (["train", "--recipe", "smal"], "unknown recipe 'smal': did you mean small?"),
        (["train", "--data", "nowhere"], "unknown detection data 'nowhere'"),
        (["train", "--plan", "p.json", "--pool", "avg"], "--plan and --pool or --strides exclude each other"),
        (["train", "--plan", "p.json"], "p.json: no such file"),
        (["predict", "nowhere", "x.png", "--out", "y", "--min-score", "2"], "--min-score must be in [0, 1], got 2.0"),
        (["compare", "--pools", "avg,av"], "unknown pooling 'av'"),
        (["compare", "--strides", "2,2"], "strides need one entry a site of sapool:tiny, 4 in all, got 2,2"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], said: str) -> None:
    done = call(*arguments)
    assert isinstance(done.exception, ValueError)
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)


def test_results_that_are_none_are_named(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    annotations = str(data / "annotations" / "instances_test.json")
    wrong = {
        "{": "not JSON",
        '[{"score": 1}]': "must be a list of objects with bbox",
        '[{"image_id": 77, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}]': "r.json: result 0 is of image 77",
    }
    for text, said in wrong.items():
        path.write_text(text)
        done = call("eval", "--annotations", annotations, "--results", str(path))
        assert said in str(done.exception)


@pytest.mark.slow
def test_bad_data_is_found_before_training(data: Path, tmp_path: Path) -> None:
    broken = coco_folder(tmp_path / "broken")
    path = broken / "annotations" / "instances_train.json"
    held = json.loads(path.read_text())
    held["annotations"][0]["bbox"][2] = 0
    path.write_text(json.dumps(held))
    out = tmp_path / "run"
    command = ["train", *QUICK, "--data", str(broken), "--epochs", "1", "--no-measure", "--out", str(out)]
    done = call(*command)
    assert "its box must have an area" in str(done.exception)
    assert not out.exists()
    assert call(*command, "--skip-bad").exit_code == 0
    assert json.loads((out / "record.json").read_text())["data"]["skipped"] == {"train": {"bad box": 1}}


def test_a_start_that_fails_at_once_leaves_no_folder(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = call("train", *QUICK, "--data", str(data), "--epochs", "1", "--learning-rate", "1e30", "--out", str(out))
    assert "lower learning_rate" in str(done.exception)
    assert not out.exists()


def test_a_plan_of_another_size_is_refused(finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(json.loads((finished / "record.json").read_text())["config"]["plan"]))
    done = call("train", "--plan", str(path), "--out", str(tmp_path / "run"))
    assert "is for an input of (3, 48, 48) (C, H, W), the recipe's is (3, 128, 128)" in str(done.exception)
