"""The committed headline: its page says what its records say, and its file needs what they say."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from sapool.export import measure_arena
from sapool.memory import head_without_inputs
from sapool.networks.load import load_model
from sapool.planning.plan import make_plan
from sapool.tflite import read_graph

HEADLINE = Path(__file__).parents[1] / "benchmarks" / "headline"
OWN = ("definitions", "deploying", "front", "page", "run", "savings")


@pytest.fixture
def headline(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The headline's modules, whose names the studies' modules share."""
    for name in OWN:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(HEADLINE))
    yield importlib.import_module("page")
    for name in OWN:
        sys.modules.pop(name, None)


def test_the_page_is_what_the_records_say(headline: ModuleType) -> None:
    assert (HEADLINE / "README.md").read_text() == headline.page()


def test_the_records_are_of_the_networks_as_they_are_defined(headline: ModuleType) -> None:
    run = importlib.import_module("run")
    for name, records in headline.runs().items():
        for record in records:
            config = dict(record["config"])
            assert config.pop("recipe")["seed"] == record["seed"]
            assert config == json.loads(json.dumps(run.described(name)))


def test_the_committed_file_is_the_recorded_one(headline: ModuleType) -> None:
    path = HEADLINE / "self_attentive.tflite"
    records = headline.runs().get("self_attentive")
    if records is None:
        assert not path.exists()
        return
    arena = measure_arena(path)
    assert (arena.head_bytes, arena.total_bytes) == (records[0]["head_bytes"], records[0]["total_bytes"])
    assert head_without_inputs(read_graph(path)) == records[0]["head_without_image_bytes"]
    assert path.stat().st_size == records[0]["flash_bytes"] < headline.definitions.FILE_BYTES


@pytest.mark.slow
def test_only_the_named_stages_lose_channels_and_pools_come_along(headline: ModuleType) -> None:
    definitions = headline.definitions
    network = definitions.NETWORKS["self_attentive"]
    whole, plan = network.build(0, pruned=False)
    narrow, _ = network.build(0)
    assert [site.conv_stride * site.pool_stride for site in plan.sites] == [4, 4, 2, 1, 2]
    widths = [
        (name, layer.out_channels, narrow.get_submodule(name).out_channels)
        for name, layer in whole.named_modules()
        if name.endswith(("conv_stem", "conv_pw", "conv_pwl", "conv_head"))
    ]
    changed = {name for name, before, after in widths if after < before}
    assert "conv_head" in changed
    assert all(name.startswith(("blocks.4", "blocks.5", "blocks.6", "conv_head")) for name in changed)
    assert {name for name, *_ in widths if name.startswith("blocks.5")} <= changed


def point(label: str, arena: int, val: float, test: float) -> dict[str, object]:
    return {"label": label, "int8_val": [val], "int8_test": [test], "total_bytes": arena}


def test_a_point_of_the_front_is_chosen_by_validation(headline: ModuleType) -> None:
    front = headline.front
    early = [point("avg", 30_000, 0.6, 0.2), point("max", 31_000, 0.9, 0.9)]
    late = [point("avg", 60_000, 0.5, 0.9), {**point("max", 61_000, 0.0, 0.0), "int8_val": []}]
    found = front.points_of({"2,2,2,2": late, "4,2,2,1": early})
    assert {label: [p["total_bytes"] for p in points] for label, points in found.items()} == {
        "avg": [30_000, 60_000],
        "max": [31_000],
    }
    assert front.best_within(found["avg"], 16 * 1024) is None
    assert front.best_within(found["avg"], 64 * 1024)["int8_test"] == [0.2]


def test_the_front_is_drawn_alike_every_time(
    headline: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    for name in ("one.svg", "other.svg"):
        monkeypatch.setattr(headline.front, "FIGURE", tmp_path / name)
        headline.front.draw({"2,2,2,2": [point("avg", 65536, 0.5, 0.5)], "4,2,2,1": [point("avg", 32768, 0.4, 0.6)]})
        drawn.append((tmp_path / name).read_bytes())
    assert drawn[0] == drawn[1]
    assert b"<svg" in drawn[0]


def test_every_network_of_the_front_can_be_planned(headline: ModuleType) -> None:
    model = load_model(headline.front.BASE.model, 10)
    for strides in headline.front.STRIDES:
        for pool in headline.front.BASE.pools:
            assert make_plan(model, headline.front.BASE.input_size, pool, strides).strides == strides
