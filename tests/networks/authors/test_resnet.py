from __future__ import annotations

from typing import Any

import pytest
import torch

from sapool.networks.authors import build
from tests.networks.authors.building import Recorder


@pytest.mark.parametrize(("name", "place"), [("resnet50", 4), ("resnet50_v2", 1), ("resnet18", 2), ("resnext18", 1)])
def test_a_resnet_pools_after_its_stage_or_after_its_first_block(
    calls: list[dict[str, Any]], name: str, place: int
) -> None:
    with torch.device("meta"):
        net: Any = build(f"{name}-lip-1222", 10)
    assert [isinstance(layer, Recorder) for layer in net.features[-3]].index(True) == place
    assert len(calls) == 3
