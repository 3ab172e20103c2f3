from __future__ import annotations

import pytest

from sapool.pruning.sensitivity import place_of


@pytest.mark.parametrize(("name", "place"), [("a.b;12", 12), (";3", 3), ("a;9;tile", 9), ("slice", -1), ("a.12", -1)])
def test_places(name: str, place: int) -> None:
    assert place_of(name) == place
