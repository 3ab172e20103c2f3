from __future__ import annotations

import json

import pytest
from torch import nn

import sapool
from sapool.base.records import PoolingPlan


@pytest.fixture(scope="module")
def tiny() -> nn.Module:
    return sapool.load_model("sapool:tiny", 10)


def strides_of(plan: PoolingPlan) -> list[tuple[int, int]]:
    return [(site.conv_stride, site.pool_stride) for site in plan.sites]


def test_the_old_reduction_goes_to_the_pool(tiny: nn.Module) -> None:
    plan = sapool.make_plan(tiny, 64, "avg")
    assert strides_of(plan) == [(1, 2)] * 4
    assert plan.strides == (2, 2, 2, 2)


def test_a_larger_reduction_leaves_the_convolution_its_stride(tiny: nn.Module) -> None:
    assert strides_of(sapool.make_plan(tiny, 64, "avg", [4, 2, 2, 1])) == [(2, 2), (1, 2), (1, 2), (1, 1)]


def test_one_that_is_no_multiple_goes_to_the_pool_whole(tiny: nn.Module) -> None:
    assert strides_of(sapool.make_plan(tiny, 64, "avg", [3, 2, 1, 1]))[0] == (1, 3)


def test_pairs_are_taken_as_they_are(tiny: nn.Module) -> None:
    assert strides_of(sapool.make_plan(tiny, 64, "avg", [(1, 4), (2, 1), 2, 1])) == [(1, 4), (2, 1), (1, 2), (1, 1)]


def test_strided_is_the_convolution_at_the_plans_stride(tiny: nn.Module) -> None:
    assert strides_of(sapool.make_plan(tiny, 64, "strided", [4, 2, 2, 1])) == [(4, 1), (2, 1), (2, 1), (1, 1)]


def test_planned_patches_leave_at_most_64_tokens(tiny: nn.Module) -> None:
    plan = sapool.make_plan(tiny, 64, strides=[4, 2, 2, 1])
    assert [site.kwargs.get("patch_size") for site in plan.sites] == [4, 2, 2, None]
    assert sapool.make_plan(tiny, 224).sites[0].kwargs["patch_size"] == 28
    given = sapool.make_plan(tiny, 64, patch_size=1, window_norm=True)
    assert all(site.kwargs == {"patch_size": 1, "window_norm": True} for site in given.sites)


def test_a_normalised_pool_gets_a_patch_that_does_not_cancel(tiny: nn.Module) -> None:
    plan = sapool.make_plan(tiny, 64, strides=[(1, 4), 2, 2, 1], window_norm=True)
    assert [site.kwargs.get("patch_size") for site in plan.sites] == [2, 1, 1, None]
    sapool.apply_plan(tiny, plan)


@pytest.mark.parametrize(
    "change",
    [{"conv_stride": 0}, {"pool_stride": 2.5}, {"pool_stride": "2"}, {"kwargs": []}, {"placement": 3}, {"pool": None}],
)
def test_a_plan_with_values_of_the_wrong_kind_is_refused(tiny: nn.Module, change: dict[str, object]) -> None:
    held = json.loads(sapool.make_plan(tiny, 64, "avg").to_json())
    held["sites"][1] |= change
    with pytest.raises(ValueError, match="not a pooling plan"):
        PoolingPlan.from_json(json.dumps(held))


def test_a_plan_that_names_a_site_twice_is_refused(tiny: nn.Module) -> None:
    held = json.loads(sapool.make_plan(tiny, 64, "avg").to_json())
    held["sites"][1] = held["sites"][0]
    with pytest.raises(ValueError, match=r"a site is named twice: stem\.0, stem\.0"):
        PoolingPlan.from_json(json.dumps(held))


def test_json_round_trip(tiny: nn.Module) -> None:
    plan = sapool.make_plan(tiny, (3, 48, 64), strides=[4, 2, 2, 1])
    assert PoolingPlan.from_json(plan.to_json()) == plan
    for text, said in {
        "{": "not a pooling plan: not JSON: Expecting",
        "[]": r"not a pooling plan: it must be an object with the keys of a PoolingPlan, got \[\]",
        "{}": "not a pooling plan: it has no input_size, sites",
        '{"sites": [{"x": 1}], "input_size": [3, 4, 4]}': r"not a pooling plan: unknown key 'sites\[0\]\.x'",
        '{"input_size": [3, 32.9, 32], "sites": []}': r"input_size\[1\] must be a whole number, got 32.9",
        '{"input_size": [3, 1e999, 32], "sites": []}': r"input_size\[1\] must be a finite number, got inf",
        '{"input_size": [3, Infinity, 32], "sites": []}': "not JSON: Infinity is no number of it",
        '{"input_size": [3, 99999999, 32], "sites": []}': "each of input_size must be 1 to 65536",
        "[" * 100_000: "nested deeper than 60 levels",
        '{"sites": []}': "not a pooling plan: it has no input_size",
    }.items():
        with pytest.raises(ValueError, match=said):
            PoolingPlan.from_json(text)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"pool": "agv"}, "unknown pooling 'agv': did you mean avg"),
        ({"strides": [2, 2]}, r"one entry a down-sampling site, 4 in all, got \[2, 2\]: stem.0 \(now 2\)"),
        ({"strides": [0, 2, 2, 2]}, "the stride of stem.0 must be at least 1, got 0"),
        ({"strides": [8, 8, 8, 8]}, "shrink the map to nothing at blocks.2"),
        ({"placement": "stage-left"}, "unknown placement 'stage-left': choose from block"),
        ({"patch_size": 2, "window_norm": True}, "the pool at stem.0: .*average pooling"),
        (
            {"patch_size": 33, "window_norm": True},
            "the pool at blocks.0: a patch_size of 33 leaves one token of the 32 x 32",
        ),
        ({"patch": 2}, "takes no keyword 'patch': it takes patch_size"),
        ({"pool": "avg", "patch_size": 2}, "pooling 'avg' takes no keyword 'patch_size'"),
    ],
)
def test_mistakes_are_named(tiny: nn.Module, kwargs: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        sapool.make_plan(tiny, 64, **kwargs)  # type: ignore[arg-type]


def test_a_network_without_sites_is_refused() -> None:
    with pytest.raises(ValueError, match="Linear has no down-sampling to plan"):
        sapool.make_plan(nn.Linear(8, 8), 8)
    with pytest.raises(ValueError, match="no down-sampling to plan: 0: its kernel"):
        sapool.make_plan(nn.Sequential(nn.Conv2d(3, 4, 3, 2, 2)), 8)
