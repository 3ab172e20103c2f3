from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sapool.layers import SelfAttentivePool2d
from sapool.layers.context import AttendedContext
from sapool.layers.cpu import banded
from sapool.networks.traced import trace
from tests.layers.oracle import literal_attention, plain_norms, randomize


def make(*args: Any, size: tuple[int, int] = (12, 12), **kwargs: Any) -> tuple[SelfAttentivePool2d, Tensor]:
    torch.manual_seed(0)
    pool = SelfAttentivePool2d(*args, **({"combine": "context"} | kwargs)).double()
    randomize(pool)
    return pool, torch.randn(2, args[0], *size, dtype=torch.float64)


def context_of(pool: SelfAttentivePool2d) -> AttendedContext:
    assert pool.context is not None
    return pool.context


def literal_context(pool: SelfAttentivePool2d, x: Tensor) -> Tensor:
    """avg(U_p(BN(Conv1x1(A)))) in eval mode, in loops: every pixel of a window has its token's value, padding zeros."""
    tokens = literal_attention(pool, pool.pad_to_patches(x), plain_norms(pool)[0])
    norm = context_of(pool).norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mapped = torch.einsum("nehw,ce->nchw", tokens, context_of(pool).project.weight[:, :, 0, 0])
    scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps))[:, None, None]
    tokens = (mapped - norm.running_mean[:, None, None]) * scale + norm.bias[:, None, None]
    window, (rows, columns) = pool.window, pool.window.output_size(x.shape[2], x.shape[3])
    out = torch.zeros(*tokens.shape[:2], rows, columns, dtype=x.dtype)
    for i, j in itertools.product(range(rows), range(columns)):
        spans = [
            range(at * s - pad, min(at * s - pad + k, n + pad))  # beyond the padding nothing counts
            for at, s, pad, k, n in zip(
                (i, j), window.stride, window.padding, window.kernel_size, x.shape[2:], strict=True
            )
        ]
        held = [(r, c) for r, c in itertools.product(*spans) if 0 <= r < x.shape[2] and 0 <= c < x.shape[3]]
        for row, column in held:
            out[:, :, i, j] += tokens[:, :, row // pool.patch_size[0], column // pool.patch_size[1]]
        out[:, :, i, j] /= len(spans[0]) * len(spans[1]) if window.count_include_pad else len(held)
    return out


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    halves=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    patch=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    size=st.tuples(st.integers(4, 11), st.integers(4, 11)),
    ceil_mode=st.booleans(),
    pads_count=st.booleans(),
)
def test_any_window_and_map_is_the_average_plus_the_formula(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    halves: tuple[int, int],
    patch: tuple[int, int],
    size: tuple[int, int],
    ceil_mode: bool,
    pads_count: bool,
) -> None:
    padding = (min(halves[0], kernel[0] // 2), min(halves[1], kernel[1] // 2))
    pool, x = make(4, kernel, stride, padding, ceil_mode, size=size, patch_size=patch, count_include_pad=pads_count)
    plain = F.avg_pool2d(x, kernel, stride, padding, ceil_mode, pads_count)
    expected = plain + literal_context(pool.eval(), x)
    torch.testing.assert_close(pool(x), expected)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"patch_size": 4},
        {"patch_size": 8},
        {"patch_size": 2, "window_norm": True, "gain": 4.0},
        {"patch_size": 4, "restoration": "pixel_shuffle", "window_norm": True},
    ],
)
def test_both_is_the_weighted_window_plus_the_context(kwargs: dict[str, Any]) -> None:
    pool, x = make(8, 4, size=(18, 16), combine="both", **kwargs)
    weighted = SelfAttentivePool2d(8, 4, **kwargs).double().eval()
    weighted.load_state_dict({k: v for k, v in pool.state_dict().items() if not k.startswith("context.")})
    torch.testing.assert_close(pool.eval()(x), weighted(x) + literal_context(pool, x))


def test_tokens_that_are_stretched_over_the_map_are_averaged_as_they_lie_there() -> None:
    pool, x = make(4, 2, size=(7, 7), patch_size=3, border="stretch")
    tokens = literal_attention(pool.eval(), x, plain_norms(pool)[0])
    place = [0, 0, 0, 0, 1, 1, 1]  # floor(i 2 / 7)
    context = context_of(pool)
    full = context.norm(context.project(tokens))[:, :, place][:, :, :, place]
    expected = F.avg_pool2d(x + full, 2)
    torch.testing.assert_close(pool(x), expected)


@pytest.mark.parametrize("patch", [2, 4, 8])
def test_it_starts_as_average_pooling_and_leaves_there_by_its_gradient(patch: int) -> None:
    torch.manual_seed(0)
    pool = SelfAttentivePool2d(8, 4, patch_size=patch, combine="context")
    x = torch.randn(4, 8, 16, 16)
    torch.testing.assert_close(pool(x), F.avg_pool2d(x, 4))
    optimizer = torch.optim.SGD(pool.parameters(), 1.0)
    for _ in range(2):
        optimizer.zero_grad()
        pool(x).square().mean().backward()
        optimizer.step()
    for name, parameter in pool.named_parameters():
        # A soft-max does not see what is added to all its logits.
        assert name == "attention.key.bias" or (parameter.grad is not None and parameter.grad.abs().sum() > 0), name


@pytest.mark.parametrize(("patch", "combine"), [(1, "context"), (2, "both"), (4, "both")])
def test_gradients_are_those_of_the_function(patch: int, combine: Any) -> None:
    pool, x = make(2, 2, size=(5, 4), patch_size=patch, combine=combine, max_keys=4, num_heads=1)
    pool.eval()
    assert torch.autograd.gradcheck(pool, x.requires_grad_())


def test_what_cancels_as_a_weight_may_be_a_context() -> None:
    pool, x = make(4, 2, patch_size=2, window_norm=True)
    assert not torch.allclose(pool(x), F.avg_pool2d(x, 2))
    assert not hasattr(pool, "restore")
    with pytest.raises(ValueError, match="cancels"):
        SelfAttentivePool2d(4, 2, patch_size=2, window_norm=True, combine="both")
    with pytest.raises(ValueError, match=r"combine must be one of \('weight', 'context', 'both'\), got 'add'"):
        SelfAttentivePool2d(4, 2, combine="add")  # type: ignore[arg-type]


@pytest.mark.parametrize("combine", ["context", "both"])
def test_a_network_with_it_is_traced(combine: Any) -> None:
    pool, x = make(3, 2, size=(16, 16), combine=combine)
    net = nn.Sequential(copy.deepcopy(pool), nn.Flatten()).eval()
    torch.testing.assert_close(trace(net.float(), 16).module(x.float()), net(x.float()))


def test_large_maps_are_pooled_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(banded, "LARGE_MAP", 0)
    for combine, banded_too in (("weight", True), ("context", False), ("both", False)):
        pool, x = make(4, 2, combine=combine)
        with torch.no_grad():
            assert pool.eval().runs_in_bands(x) is banded_too


def test_print_names_it() -> None:
    assert "combine='both'" in repr(SelfAttentivePool2d(4, 2, combine="both"))
    assert "combine" not in repr(SelfAttentivePool2d(4, 2))
