from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sapool.base.records import ArenaRecord
from sapool.detection import DetectConfig
from sapool.report.detectors import cells, markdown
from sapool.training import DivergedError
from sapool.workflows.compare import DetectCompareConfig, compare_detectors, compare_paired, estimate
from sapool.workflows.compare import detectors as module
from sapool.workflows.detect import DetectorRun, DetectRequest
from tests.detection.tiny import SIDE, coco_folder
from tests.workflows.compare.stubs import arena

CONFIG = DetectCompareConfig(
    model="sapool:tiny_025",
    recipe=DetectConfig(input_size=64, epochs=1),
    pools=("self_attentive", "max"),
    ram_bytes=50_000,
)
REACHED = {"self_attentive": 0.5, "max": 0.4, "avg": 0.45}


class Stub:
    """Plans need less the earlier they shrink; runs are counted, and their precision follows from pool and seed."""

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.diverged: set[tuple[str, int]] = set()

    def measure(self, request: DetectRequest, data: Any) -> Any:
        assert request.plan is not None
        needs = 60_000 if request.plan.sites[-1].pool == "self_attentive" else 40_000
        return arena(needs // max(1, request.plan.strides[0] // 2))

    def run(self, request: DetectRequest, folder: Path, **kwargs: Any) -> DetectorRun:
        assert request.plan is not None
        pool, seed = request.plan.sites[1].pool, request.recipe.seed
        self.runs[f"{pool} {seed}"] += 1
        assert kwargs["measure"] == (seed == 0)
        if (pool, seed) in self.diverged:
            raise DivergedError("the loss became nan")
        ap50 = REACHED[pool] + 0.01 * seed
        record = {"result": {"test": {"ap": ap50 / 2, "ap50": ap50}}, "parameters": 9}
        return DetectorRun(folder, request, (), record | {"backbone": {"arena": None, "reason": None}})


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    found = Stub()
    monkeypatch.setattr(module, "measure_untrained", found.measure)
    monkeypatch.setattr(module, "run_detector", found.run)
    return found


def test_every_pooling_gets_the_latest_down_sampling_that_fits(stub: Stub, tmp_path: Path) -> None:
    found = compare_detectors(CONFIG, tmp_path / "x")
    rows = {row.pool: row for row in found.rows}
    assert rows["self_attentive"].strides == (4, 2, 2, 1)
    assert rows["avg"].strides == rows["max"].strides == (2, 2, 2, 2)
    assert [row.pool for row in found.rows] == ["self_attentive", "avg", "max"]
    assert rows["avg"].total_bytes == 40_000
    assert all(row.fits for row in found.rows)


def test_figures_are_those_of_the_runs(stub: Stub, tmp_path: Path) -> None:
    first, second, _ = compare_detectors(CONFIG, tmp_path / "x").rows
    assert first.ap50 == (0.5, 0.51, 0.52)
    assert first.mean == estimate(first.ap50)
    assert first.mean_ap == estimate(first.ap)
    assert first.against == compare_paired(first.ap50, second.ap50, "avg")
    assert second.against == compare_paired(second.ap50, first.ap50, "self_attentive")


def test_nothing_is_run_twice_and_a_study_grows(stub: Stub, tmp_path: Path) -> None:
    compare_detectors(CONFIG, tmp_path / "x")
    grown = DetectCompareConfig(**{**vars(CONFIG), "seeds": 4, "pools": ("self_attentive", "max", "avg")})
    found = compare_detectors(grown, tmp_path / "x")
    assert set(stub.runs.values()) == {1}
    assert len(stub.runs) == 12
    assert all(row.seeds == (0, 1, 2, 3) for row in found.rows)
    assert json.loads((tmp_path / "x" / "compare.json").read_text())["rows"][0]["pool"] == "self_attentive"
    with pytest.raises(ValueError, match="holds results of another configuration"):
        compare_detectors(DetectCompareConfig(**{**vars(CONFIG), "ram_bytes": 9}), tmp_path / "x")


def test_what_does_not_fit_and_what_diverged_is_said(stub: Stub, tmp_path: Path) -> None:
    stub.diverged.add(("max", 1))
    tight = DetectCompareConfig(**{**vars(CONFIG), "ram_bytes": 40_000, "strides": (2, 2, 2, 2)})
    found = compare_detectors(tight, tmp_path / "x")
    rows = {row.pool: row for row in found.rows}
    assert rows["self_attentive"].reasons == ("strides 2,2,2,2 need 60,000 bytes, over the budget",)
    assert cells(rows["self_attentive"])[1:5] == ["-", "0", "-", "-"]
    assert rows["max"].seeds == (0, 2)
    assert rows["max"].reasons == ("seed 1: the loss became nan",)
    assert rows["max"].mean is not None
    assert rows["max"].mean.low is None  # two seeds have no interval
    page = markdown(found)
    assert "40,000 bytes of RAM" in page
    assert "seed 1: the loss became nan" in page


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pools": ()}, "pools must name at least one pooling"),
        ({"pools": ("avg", "avg")}, "each once, got avg, avg"),
        ({"pools": ("average",)}, "unknown pooling 'average'"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
    ],
)
def test_mistakes_are_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        DetectCompareConfig(**given)


@pytest.mark.slow
def test_one_real_comparison(tmp_path: Path) -> None:
    config = DetectCompareConfig(
        model="sapool:tiny_025",
        data=str(coco_folder(tmp_path / "coco")),
        recipe=DetectConfig(input_size=SIDE, epochs=1, batch_size=4),
        pools=("avg",),
        seeds=1,
    )
    (row,) = compare_detectors(config, tmp_path / "out").rows
    held = json.loads((tmp_path / "out" / "runs" / "avg" / "seed0" / "record.json").read_text())
    assert row.ap50 == (held["result"]["test"]["ap50"],)
    # Trained or not, the arena is the same, but for constants that only their values allow to share.
    assert row.total_bytes == pytest.approx(ArenaRecord.from_dict(held["backbone"]["arena"]).total_bytes, abs=64)
