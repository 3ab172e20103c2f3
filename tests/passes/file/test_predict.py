from __future__ import annotations

import pytest

from sapool.memory import profile_tflite
from sapool.passes.file._predict import cost_with_tiles, predicted_cost
from sapool.tflite import write_graph
from tests.passes.tiling.networks import NETWORKS, inverted_residuals


@pytest.mark.parametrize("name", NETWORKS)
def test_without_a_plan_it_is_the_profile(name: str) -> None:
    model = NETWORKS[name]()
    total, operators = predicted_cost(model, planned=False)
    assert total == profile_tflite(write_graph(model)).total_bytes
    assert operators == len(model.operators)
    assert predicted_cost(model)[0] <= total


def test_tiles_are_looked_ahead_to() -> None:
    model = inverted_residuals(64)
    before = write_graph(model)
    assert cost_with_tiles(model)[0] < predicted_cost(model)[0]
    assert write_graph(model) == before
