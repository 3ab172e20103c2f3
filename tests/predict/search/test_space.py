from __future__ import annotations

import itertools
import math

import pytest

from sapool.predict.search.space import Space, stride_choices


@pytest.mark.parametrize("reductions", [(2,), (2, 2), (2, 2, 2), (4, 2), (3, 2), (16,), (2, 1, 2)])
def test_strides_are_all_that_keep_the_whole_reduction(reductions: tuple[int, ...]) -> None:
    limits = [max(8, own) for own in reductions]
    every = itertools.product(*(range(1, limit + 1) for limit in limits))
    wanted = {strides for strides in every if math.prod(strides) == math.prod(reductions)}
    found = stride_choices(reductions)
    assert set(found) == wanted
    assert len(found) == len(wanted)
    assert found[0] == reductions


def test_a_space_has_as_many_points_as_it_says_and_attention_only_where_there_is_some() -> None:
    space = Space(
        ((3, 32, 32), (3, 48, 48)), ("self_attentive", "avg"), ((2, 2), (4, 1)), ("block", "stage"), (1, 2, 4)
    )
    points = list(space)
    assert len(points) == len(space) == len(set(points)) == 2 * 2 * 2 * (3 * 2 * 1 + 1)
    assert {point.num_heads for point in points if point.pool == "avg"} == {None}
    assert points[0].keywords() == {"num_heads": 1, "max_keys": 256}
