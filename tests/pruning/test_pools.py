"""Every pooling loses channels of its map as if they had been set to zero."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sapool.layers import POOLS, create_pool
from sapool.pruning.pools import channel_repeats, pool_channels, rule_of, trim_pool
from sapool.pruning.trimming import Trimmer

CHANNELS = 12
KEEP = [0, 1, 3, 4, 6, 7, 9, 10]  # of each run of three the first two: what RNNPool's four passes can lose

SELF_ATTENTIVE: list[tuple[str, dict[str, Any]]] = [
    ("self_attentive", kwargs)
    for kwargs in (
        {"embedding": "separable"},
        {"restoration": "pixel_shuffle"},
        {"restoration": "bilinear", "window_norm": True},
        {"embed_norm": False, "restore_norm": False, "position": None},
        {"num_heads": 3, "embed_ratio": 0.5},
        {"num_heads": 4, "embed_ratio": 2.0, "border": "stretch"},
        {"combine": "context"},
        {"combine": "both"},
    )
]
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("lip", {"logit_channels": 5}),
    ("mixed", {"per_channel": True}),
    ("gated", {"per_channel": True}),
    ("lp", {"learned": False}),
    ("haar", {"norm": False}),
    ("rnn", {"summary_size": 5}),
    ("gaussian", {"stochasticity": None}),
    ("blur", {"max_first": True}),
    ("attention_strided", {"position": None}),
]
FORMS = [(name, dict[str, Any]()) for name in POOLS if name != "strided"] + SELF_ATTENTIVE + OTHERS


def randomised(pool: nn.Module) -> nn.Module:
    """No parameter or statistic at the value that hides a mistake."""
    torch.manual_seed(1)
    for tensor in (*pool.parameters(), *pool.buffers()):
        if tensor.is_floating_point() and tensor.dim() < 4:
            torch.nn.init.uniform_(tensor, 0.2, 1.0)
    for module in pool.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.3)
    return pool.eval()


def masked(keep: list[int], dim: int) -> Any:
    def mask(x: Tensor) -> Tensor:
        there = torch.zeros(x.shape[dim], dtype=torch.bool)
        there[keep] = True
        shape = [1] * x.dim()
        shape[dim] = -1
        return x * there.view(shape)

    return mask


def zeroed(pool: nn.Module, notes: dict[nn.Module, dict[str, list[int]]], x: Tensor) -> Tensor:
    """Run a pool with whatever is not noted as kept at zero: what goes into its layers, and what comes out."""
    for layer, sides in notes.items():
        if layer is pool:
            continue
        dim = 1 if isinstance(layer, nn.Conv2d) else -1
        if "in" in sides:
            before = masked(sides["in"], dim)
            layer.register_forward_pre_hook(lambda _, args, before=before: (before(args[0]),))
        if "out" in sides:
            after = masked(sides["out"], dim)
            layer.register_forward_hook(lambda *args, after=after: after(args[2]))
    return pool(masked(KEEP, 1)(x))[:, KEEP]


@pytest.mark.parametrize(("name", "kwargs"), FORMS, ids=[f"{n}-{'-'.join(map(str, k.values()))}" for n, k in FORMS])
def test_trimming_equals_zeroing(name: str, kwargs: dict[str, Any]) -> None:
    pool = randomised(create_pool(name, CHANNELS, 2, **kwargs))
    original = randomised(create_pool(name, CHANNELS, 2, **kwargs))
    original.load_state_dict(pool.state_dict())
    twins = dict(zip(pool.modules(), original.modules(), strict=True))
    notes: dict[nn.Module, dict[str, list[int]]] = {}

    def note(layer: nn.Module, side: str, keep: Any, count: int) -> None:
        assert list(keep) == sorted(set(keep))
        assert max(keep) < count
        assert side not in notes.setdefault(twins[layer], {})
        notes[twins[layer]][side] = list(keep)

    trim_pool(Trimmer(note), pool, KEEP)
    assert pool_channels(pool) == len(KEEP)
    x = torch.rand(2, CHANNELS, 8, 8) + 0.1
    small = pool(x[:, KEEP])
    if name == "rnn" and channel_repeats(original) == 4:  # its states are its output: nothing to hook
        expected = rnn_without_states(original, notes, x)
    else:
        expected = zeroed(original, notes, x)
    torch.testing.assert_close(small, expected, atol=1e-5, rtol=1e-5)
    assert float(small.detach().std()) > 1e-3


def rnn_without_states(original: Any, notes: dict[nn.Module, dict[str, list[int]]], x: Tensor) -> Tensor:
    """A state whose weights, biases and readers are zero stays zero."""
    states = notes[original.rnn2.read]["out"]
    for conv in (original.rnn2.read, original.rnn2.recur):
        conv.weight.data = masked(states, 0)(conv.weight.data)
    original.rnn2.recur.weight.data = masked(states, 1)(original.rnn2.recur.weight.data)
    original.rnn2.update_bias.data = masked(states, 0)(original.rnn2.update_bias.data)
    result: Tensor = original(masked(KEEP, 1)(x))[:, KEEP]
    return result


@pytest.mark.parametrize(("name", "kwargs"), FORMS, ids=[f"{n}-{'-'.join(map(str, k.values()))}" for n, k in FORMS])
def test_a_trimmed_pool_trains(name: str, kwargs: dict[str, Any]) -> None:
    pool = create_pool(name, CHANNELS, 2, **kwargs).train()
    trim_pool(Trimmer(lambda *_: None), pool, KEEP)
    x = torch.rand(4, len(KEEP), 8, 8, requires_grad=True)
    pool(x).square().sum().backward()
    assert x.grad is not None
    assert all(p.grad is None or p.grad.shape == p.shape for p in pool.parameters())
    assert f"{len(KEEP)}" in repr(pool) or name in ("max", "avg")


@pytest.mark.parametrize(("heads", "ratio"), [(2, 1.0), (3, 1.0), (4, 0.7), (1, 1.3)])
def test_a_trimmed_pool_is_as_wide_as_a_new_one(heads: int, ratio: float) -> None:
    pool = create_pool("self_attentive", 24, 2, num_heads=heads, embed_ratio=ratio)
    trim_pool(Trimmer(lambda *_: None), pool, range(0, 24, 2))
    new = create_pool("self_attentive", 12, 2, num_heads=heads, embed_ratio=ratio)
    shapes = {name: tensor.shape for name, tensor in pool.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in new.state_dict().items()}
    assert shapes["attention.query.weight"][0] % heads == 0
    assert shapes["position.column"][1] == shapes["embed.weight"][0] // 2
    pool.load_state_dict(pool.state_dict())


def test_only_pools_have_rules() -> None:
    assert rule_of(nn.Conv2d(3, 4, 1)) is None
    assert rule_of(create_pool("strided", 4, 2)) is None  # a convolution: its input and output are independent
    with pytest.raises(ValueError, match="no rule says how to prune Conv2d"):
        trim_pool(Trimmer(lambda *_: None), nn.Conv2d(3, 4, 1), [0])
