from __future__ import annotations

import pytest

from sapool import apply_plan, load_model
from sapool.export import PASSES
from sapool.memory import profile_graph
from sapool.planning.placement import PLACEMENTS
from sapool.predict.profile import predict_graphs
from sapool.predict.search.predictor import Predictor

CASES = [
    *(("sapool:tiny", 48, (4, 2, 2, 1), pool, place) for pool in ("strided", "avg", "lip") for place in PLACEMENTS),
    ("sapool:tiny", 48, (4, 2, 2, 1), "self_attentive", "block"),
    ("timm:resnet10t", 49, (2, 4, 2, 1, 2), "avg", "block"),
    ("timm:resnet10t", 49, (2, 4, 2, 1, 2), "max", "in-place"),
    ("timm:dla46_c", 64, (4, 2, 2, 2, 1), "strided", "block"),
    ("timm:dla46_c", 64, (4, 2, 2, 2, 1), "avg", "group-start"),
]


@pytest.mark.parametrize(("name", "size", "strides", "pool", "placement"), CASES)
def test_a_plan_is_predicted_as_the_replanned_network_is(
    name: str, size: int, strides: tuple[int, ...], pool: str, placement: str
) -> None:
    net = load_model(name, 10).eval()
    predictor = Predictor(net, size)
    strides = (*strides, *(site.reduction for site in predictor.sites[len(strides) :]))
    plan = predictor.plan(pool, strides[: len(predictor.sites)], placement, {})
    before = {key: value.clone() for key, value in net.state_dict().items()}
    predicted = predictor.profile(plan)
    replanned = profile_graph(predict_graphs(apply_plan(net, plan).model, size, passes=tuple(PASSES)).plain)
    assert predicted.head_bytes == replanned.head_bytes
    assert predicted.tail_bytes == replanned.tail_bytes
    assert [op.kind for op in predicted.by_operator] == [op.kind for op in replanned.by_operator]
    assert all((before[key] == value).all() for key, value in net.state_dict().items())
