from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sapool.networks.tiny import TinyNet
from sapool.planning.plan import make_plan
from sapool.training import TrainConfig
from sapool.workflows.compare import CompareConfig
from sapool.workflows.compare.config import pool_settings


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pools": ("avgg",)}, r"unknown pooling 'avgg': did you mean avg\?"),
        ({"pools": ()}, "name at least one"),
        ({"pools": ("max", "max")}, "each pooling once"),
        ({"variants": {"mine": ("lipp", {})}}, r"unknown pooling 'lipp': did you mean lip"),
        ({"variants": {"mine": ("self_attentive", {"gian": 2})}}, "takes no keyword 'gian'"),
        (
            {"variants": {"mine": ("self_attentive", {"gain": "x"})}},
            "variant 'mine': a value of another type .* gain='x'",
        ),
        ({"variants": {"mine": ("self_attentive", {"gain": -1})}}, "variant 'mine': .*gain must be over 0"),
        ({"input_sizes": (32, 0)}, "each of input_sizes must be at least 1, got 0"),
        ({"variants": {"max": ("avg", {})}}, "has the name of a pooling"),
        ({"tables": ("budgets",)}, r"unknown table 'budgets': did you mean budget\?"),
        ({"tables": ()}, "tables must name"),
        ({"placement": "behind"}, "unknown placement 'behind'"),
        ({"seeds": 0}, "seeds must be at least 1, got 0"),
        ({"seeds": (1, 1)}, "distinct seeds"),
        ({"ram_bytes": 0}, "ram_bytes must be at least 1"),
        ({"plan_candidates": 0}, "plan_candidates must be at least 1"),
    ],
)
def test_bad_configurations_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CompareConfig(**changes)


@pytest.mark.parametrize("kwargs", [{"window_norm": True}, {"window_norm": True, "patch_size": 4}, {"patch_size": 3}])
def test_what_only_some_strides_can_take_is_left_to_the_search(kwargs: dict[str, Any]) -> None:
    assert CompareConfig(variants={"mine": ("self_attentive", kwargs)}).variants["mine"] == ("self_attentive", kwargs)


def test_average_pooling_is_always_compared() -> None:
    config = CompareConfig(pools=("max",), variants={"mine": ("self_attentive", {"num_heads": 1})})
    assert [variant.label for variant in config.all_variants()] == ["max", "mine", "avg"]
    assert config.adds_reference()
    assert not CompareConfig(pools=("avg", "max")).adds_reference()
    assert not CompareConfig(pools=("max",), variants={"plain": ("avg", {})}).adds_reference()


def test_a_study_grows_by_pools_variants_seeds_and_tables_only() -> None:
    base = CompareConfig().base()
    grown = CompareConfig(pools=("avg",), variants={"a": ("lip", {})}, seeds=(5, 6), tables=("equal",))
    assert grown.base() == base
    assert CompareConfig(recipe=replace(CompareConfig().recipe, seed=7)).base() == base
    for other in (CompareConfig(ram_bytes=1), CompareConfig(recipe=TrainConfig(epochs=29)), CompareConfig(fragments=1)):
        assert other.base() != base


def test_a_default_that_is_spelled_out_is_the_same_run_and_anything_else_is_not() -> None:
    config, net = CompareConfig(), TinyNet(10)
    settings = config.run_settings(make_plan(net, 32, "avg"), 0)
    heads = pool_settings("self_attentive")["num_heads"]
    plain = config.run_settings(make_plan(net, 32, "self_attentive"), 0)
    assert config.run_settings(make_plan(net, 32, "self_attentive", num_heads=heads), 0) == plain
    assert config.run_settings(make_plan(net, 32, "self_attentive", num_heads=heads + 1), 0) != plain
    assert plain != settings
    assert config.run_settings(make_plan(net, 32, "avg"), 1) != settings
    assert config.run_settings(make_plan(net, 32, "avg", [4, 2, 2, 1]), 0) != settings
    assert CompareConfig(train_images=100).run_settings(make_plan(net, 32, "avg"), 0) != settings


def test_the_default_folder_is_named_after_what_is_compared() -> None:
    config = CompareConfig(data="stl10:/data/stl", model="timm:resnet18", input_size=96)
    assert str(config.default_folder()) == "runs/compare_stl10-data-stl_timm-resnet18_96px_64KiB"


def test_strides_are_given_or_chosen_from() -> None:
    with pytest.raises(ValueError, match="strides and stride_choices exclude each other"):
        CompareConfig(strides=(2, 2, 2, 2), stride_choices=((2, 2, 2, 2),))
