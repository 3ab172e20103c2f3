from __future__ import annotations

import copy

import pytest

from sapool.memory import profile_tflite
from sapool.passes.file._predict import cost_with_tiles, light_copy, predicted_cost
from sapool.tflite.file import pack
from tests.passes.tiling.networks import NETWORKS, inverted_residuals, odd_sizes


@pytest.mark.parametrize("name", NETWORKS)
def test_without_a_plan_it_is_the_profile(name: str) -> None:
    model = NETWORKS[name]()
    total, operators = predicted_cost(model, planned=False)
    assert total == profile_tflite(pack(model)).total_bytes
    assert operators == len(model.subgraphs[0].operators)
    assert predicted_cost(model)[0] <= total


def test_tiles_are_looked_ahead_to() -> None:
    model = inverted_residuals(64)
    before = pack(model)
    assert cost_with_tiles(model)[0] < predicted_cost(model)[0]
    assert pack(model) == before


def test_a_light_copy_shares_the_weights_alone() -> None:
    model = odd_sizes()
    light = light_copy(model)
    assert pack(light) == pack(copy.deepcopy(model))
    assert all(a.data is b.data for a, b in zip(light.buffers, model.buffers, strict=True))
    light.subgraphs[0].operators.pop()
    assert len(model.subgraphs[0].operators) == 4
