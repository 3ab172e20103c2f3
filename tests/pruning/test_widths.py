from __future__ import annotations

from typing import Any

import torch

from sapool.pruning import prune_channels
from tests.pruning.networks import SIZE, check, network


def test_exclude_and_rounding() -> None:
    model = network()
    pruned = prune_channels(model, torch.rand(2, 3, SIZE, SIZE), ratio=0.5, round_to=4, exclude=["stem", "head.0"])
    sized: Any = pruned.model
    assert sized.stem[0].out_channels == 16
    assert sized.head[0].out_channels == 128
    assert sized.blocks[0].expand[0].out_channels == 24
    assert sized.blocks[0].project[0].out_channels == 12
    assert sized.classifier.out_features == 10


def test_global_pruning_takes_from_the_layers_that_matter_least() -> None:
    model = network()
    local = prune_channels(model, SIZE, ratio=0.3, passes="none", round_to=4)
    ranked = prune_channels(model, SIZE, ratio=0.3, passes="none", round_to=4, global_pruning=True)
    check(model, ranked)
    kept = {c.name: c.out_after for c in ranked.record.layers}
    assert kept != {c.name: c.out_after for c in local.record.layers}
