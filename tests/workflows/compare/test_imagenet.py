from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sapool.report.statistics import Estimate
from sapool.training import TrainConfig
from sapool.workflows.compare import comparison
from sapool.workflows.compare.imagenet import Point, iso_memory, run_study, study_configs
from tests.workflows.compare import stubs


def test_the_authors_strides_are_planned_at_the_stem() -> None:
    configs = study_configs("imagenet:DIR", models=("timm:mobilenetv2_035",), input_size=64)
    assert list(configs) == [f"mobilenetv2_035-{digits}" for digits in ("1222121", "2222121", "4222121")]
    one, two, four = configs.values()
    assert [c.strides for c in (one, two, four)] == [(2, 2, 2, 2, 2), (4, 2, 2, 2, 2), (8, 2, 2, 2, 2)]
    assert one.sites is not None
    assert two.sites is not None
    assert two.sites[1:] == one.sites  # at 1222121 the stem keeps its convolution
    with pytest.raises(ValueError, match="must be 1222121, 2222121"):
        study_configs("DIR", models=("sapool:tiny",), strides=("2221121",))


def images(folder: Path) -> Path:
    generator = np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 4)):
        for name in ("n01", "n02"):
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(count):
                picture = generator.integers(0, 256, (40, 48, 3), dtype=np.uint8)
                Image.fromarray(picture).save(place / f"{number}.png")
    return folder


def test_a_dry_run_on_a_folder_of_a_few_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "measure_untrained", stubs.measured)
    monkeypatch.setattr(comparison, "run_planned", stubs.run_stub)
    data = images(tmp_path / "data")
    configs = study_configs(
        f"imagenet:{data}",
        models=("sapool:tiny",),
        strides=("1222121", "2222121"),
        pools=("self_attentive", "strided"),
        input_size=64,
        seeds=1,
        recipe=TrainConfig(epochs=1, batch_size=8),
    )
    found = run_study(configs, tmp_path / "out")
    assert [row.label for row in found["tiny-2222121"].tables["budget"]] == ["self_attentive", "avg", "strided"]
    strided = found["tiny-2222121"].row("strided").plan
    pooled = found["tiny-2222121"].row("avg").plan
    stock = found["tiny-1222121"].row("avg").plan
    assert strided is not None
    assert pooled is not None
    assert stock is not None
    assert [(site.conv_stride, site.pool_stride) for site in strided.sites][:2] == [(4, 1), (2, 1)]
    assert [(site.conv_stride, site.pool_stride) for site in pooled.sites][:2] == [(2, 2), (1, 2)]
    assert [(site.conv_stride, site.pool_stride) for site in stock.sites][:2] == [(2, 1), (1, 2)]
    assert "| 30,000 |" in (tmp_path / "out" / "iso_memory.md").read_text()


def test_at_equal_memory_validation_chooses() -> None:
    def point(network: str, label: str, total: int, val: float) -> Point:
        return Point(network, label, total, val, Estimate(1 - val, None, None, 1))

    points = [point("a", "avg", 100, 0.5), point("b", "avg", 200, 0.4), point("c", "avg", 300, 0.6)]
    points.append(point("d", "max", 250, 0.9))
    table = iso_memory(points, [100, 200, 300])
    chosen = [row["avg"] for row in table.values()]
    assert [point and point.network for point in chosen] == ["a", "a", "c"]
    assert [table[budget]["max"] is None for budget in table] == [True, True, False]
