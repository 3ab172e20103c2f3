from __future__ import annotations

from typing import Any

import torch

from sapool.pruning import prune_channels
from tests.pruning.networks import SIZE, network


def test_the_least_important_go() -> None:
    model = network()
    head: Any = model.get_submodule("head.0")
    norm: Any = model.get_submodule("head.1")
    with torch.no_grad():
        head.weight[::2] *= 1e-3
        norm.weight[::2] *= 1e-3
        model.get_submodule("classifier").weight[:, ::2] *= 1e-3  # type: ignore[index,operator]
    for importance in ("magnitude", "group_norm"):
        pruned = prune_channels(model, SIZE, ratio=0.5, passes="none", importance=importance)
        kept = next(change.kept_out for change in pruned.record.layers if change.name == "head.0")
        assert kept == tuple(range(1, 128, 2))
    with torch.no_grad():
        norm.weight[:] = 1
        norm.weight[64:] = 0.01
    pruned = prune_channels(model, SIZE, ratio=0.5, passes="none", importance="bn_scale")
    assert next(change.kept_out for change in pruned.record.layers if change.name == "head.0") == tuple(range(64))


def test_taylor_looks_at_the_loss() -> None:
    model = network()
    classifier: Any = model.get_submodule("classifier")
    with torch.no_grad():  # large weights that no gradient reaches
        classifier.weight[:, :64] = 0
        model.get_submodule("head.0").weight[:64] *= 100  # type: ignore[index,operator]
    data = [(torch.rand(4, 3, SIZE, SIZE), torch.arange(4))]
    pruned = prune_channels(model, SIZE, ratio=0.5, passes="none", importance="taylor", data=data)
    assert next(c.kept_out for c in pruned.record.layers if c.name == "head.0") == tuple(range(64, 128))
    assert all(p.grad is None for p in pruned.model.parameters())
    assert all(p.grad is None for p in model.parameters())
