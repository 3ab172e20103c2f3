"""What every pooling must do, whatever it computes."""

from __future__ import annotations

import contextlib
import copy
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn

from sapool.layers import create_pool, list_pools
from tests.layers.oracle import randomize

# A pooling with other choices that take another way through its code.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in list_pools()} | {
    "self_attentive, normalised": ("self_attentive", {"window_norm": True, "patch_size": 1}),
    "self_attentive, exp": ("self_attentive", {"window_norm": True, "patch_size": 1, "gate": "exp"}),
    "self_attentive, sigmoid": ("self_attentive", {"window_norm": True, "patch_size": 1, "gate": "sigmoid"}),
    "self_attentive, gain": ("self_attentive", {"window_norm": True, "patch_size": 1, "gain": 12.0}),
    "self_attentive, un-normalised gain": ("self_attentive", {"gain": 4.0}),
    "self_attentive, bilinear": ("self_attentive", {"window_norm": True, "restoration": "bilinear"}),
    "self_attentive, pixel shuffle": ("self_attentive", {"window_norm": True, "restoration": "pixel_shuffle"}),
    "self_attentive, separable": ("self_attentive", {"embedding": "separable"}),
    "self_attentive, bare": ("self_attentive", {"embed_norm": False, "restore_norm": False, "position": None}),
    "self_attentive, stretched": ("self_attentive", {"patch_size": 3, "border": "stretch"}),
    "self_attentive, large patch": ("self_attentive", {"patch_size": 4}),
    "self_attentive, few keys": ("self_attentive", {"patch_size": 1, "max_keys": 4}),
    "self_attentive, average": ("self_attentive", {"window_norm": True, "patch_size": 1, "init": "average"}),
    "self_attentive, context": ("self_attentive", {"combine": "context", "patch_size": 3}),
    "self_attentive, both": ("self_attentive", {"combine": "both", "patch_size": 1}),
    "deformable, normalised": ("deformable_self_attentive", {"window_norm": True, "patch_size": 2}),
    "lip, bottleneck": ("lip", {"logit_channels": 6}),
    "gaussian, CN": ("gaussian", {"stochasticity": "CN"}),
    "lp, fixed": ("lp", {"learned": False, "p": 3.0}),
    "mixed, per channel": ("mixed", {"per_channel": True}),
    "gated, per channel": ("gated", {"per_channel": True}),
    "blur, max first": ("blur", {"max_first": True}),
    "haar, bare": ("haar", {"norm": False}),
    "space_to_depth, 1x1": ("space_to_depth", {"conv_kernel_size": 1}),
    "rnn, narrow": ("rnn", {"summary_size": 3}),
    "attention_strided, all keys": ("attention_strided", {"max_keys": None, "position": None}),
}
every_pool = pytest.mark.parametrize("variant", list(VARIANTS))
CHANNELS = 8


def make(variant: str, kernel: Any = 2, stride: Any = None, padding: Any = 0, ceil_mode: bool = False) -> nn.Module:
    name, kwargs = VARIANTS[variant]
    kwargs = kwargs | ({"ceil_mode": True} if ceil_mode else {})
    return create_pool(name, CHANNELS, kernel, stride, padding, **kwargs).eval()


def shaken(variant: str) -> nn.Module:
    """Away from its initial state, where zeros would hide mistakes."""
    pool = make(variant)
    randomize(pool)
    return pool


def digits(count: int = 4, channels: int = CHANNELS) -> Tensor:
    """Real input: digits of scikit-learn, 8 x 8, as channels of a map twice as large."""
    found = torch.from_numpy(load_digits().images[: count * channels]).float() / 16
    return nn.functional.interpolate(found.view(count, channels, 8, 8), scale_factor=2.0, mode="bilinear")


@settings(max_examples=25, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    halves=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    ceil_mode=st.booleans(),
    size=st.tuples(st.integers(1, 13), st.integers(1, 13)),
)
@every_pool
def test_the_output_is_as_large_as_max_poolings(
    variant: str,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    halves: tuple[int, int],
    ceil_mode: bool,
    size: tuple[int, int],
) -> None:
    padding = (min(halves[0], kernel[0] // 2), min(halves[1], kernel[1] // 2))
    _check_size(variant, kernel, stride, padding, ceil_mode, size)


@settings(max_examples=25, deadline=None)
@given(side=st.sampled_from([2, 4]), size=st.tuples(st.integers(1, 13), st.integers(1, 13)))
@every_pool
def test_a_plain_window_is_taken_by_all(variant: str, side: int, size: tuple[int, int]) -> None:
    make(variant, side)  # refuses nothing
    _check_size(variant, (side, side), (side, side), (0, 0), False, size)


def _check_size(variant: str, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, size: Any) -> None:
    try:
        pool = make(variant, kernel, stride, padding, ceil_mode)
    except ValueError:  # the layer can't take such a window by its nature: its own tests say which
        return
    x = torch.randn(2, CHANNELS, *size)
    try:
        expected = nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil_mode)(x).shape
    except RuntimeError:
        with pytest.raises((ValueError, RuntimeError), match=r"map|size"):
            pool(x)
        return
    if VARIANTS[variant][1].get("border") == "stretch" and min(size) < 3:  # smaller than the patch
        return
    pooled = pool(x)
    assert pooled.shape == expected
    assert torch.isfinite(pooled).all()


@every_pool
@pytest.mark.parametrize("training", [False, True])
def test_gradients_are_right(variant: str, training: bool) -> None:
    if variant.startswith("gaussian") and training:
        pytest.skip("random in training: its own tests fix the noise")
    pool = shaken(variant).double().train(training)
    x = torch.randn(2, CHANNELS, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    assert torch.autograd.gradcheck(pool, (x,), fast_mode=True, nondet_tol=1e-9)


def _is_matrix(name: str, parameter: Tensor) -> bool:
    return parameter.dim() > 1 or not name.endswith("bias")


@every_pool
def test_every_weight_has_a_gradient_after_one_step_on_real_input(variant: str) -> None:
    pool, x = make(variant).train(), digits()
    target = torch.rand(4, CHANNELS, 8, 8, generator=torch.Generator().manual_seed(3))
    parameters = dict(pool.named_parameters())
    if not parameters:
        return
    optimizer = torch.optim.SGD(parameters.values(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        torch.manual_seed(0)
        ((pool(x) - target) ** 2).mean().backward()  # of the sum, one step would saturate the soft-max
        optimizer.step()
    for name, parameter in parameters.items():
        assert parameter.grad is not None
        # Exempt: biases that a BatchNorm or the soft-max behind them cancels.
        if _is_matrix(name, parameter):
            assert parameter.grad.abs().max() > 0, name


@every_pool
def test_one_sample_never_depends_on_the_others(variant: str) -> None:
    pool, x = shaken(variant), digits()
    torch.testing.assert_close(pool(x)[1:2], pool(x[1:2]), atol=1e-6, rtol=1e-5)


@every_pool
def test_memory_layout_does_not_matter(variant: str) -> None:
    pool, x = shaken(variant), digits()
    expected = pool(x)
    torch.testing.assert_close(pool(x.to(memory_format=torch.channels_last)), expected, atol=1e-5, rtol=1e-5)
    holes = torch.stack((x, torch.full_like(x, torch.nan)), dim=4)[..., 0]
    assert not holes.is_contiguous()
    torch.testing.assert_close(pool(holes), expected, atol=1e-5, rtol=1e-5)
    assert pool(x[:0]).shape == expected[:0].shape


@every_pool
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near_and_never_nan(variant: str, dtype: torch.dtype) -> None:
    pool, x = shaken(variant), digits()
    expected = pool(x)
    got = copy.deepcopy(pool).to(dtype)(x.to(dtype))
    assert got.dtype == dtype
    # Steps of the types are 2^-8 and 2^-11; a gain of 12 multiplies the error of the logit.
    error = float((got.float() - expected).detach().norm() / expected.detach().norm())
    assert error < (8e-3 if dtype == torch.bfloat16 else 1e-3)
    assert torch.isfinite(copy.deepcopy(pool).to(dtype)(x.to(dtype) * 100)).all()


@every_pool
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_trains_without_nan(variant: str, dtype: torch.dtype) -> None:
    pool, x = make(variant).train(), digits().requires_grad_()
    with torch.autocast("cpu", dtype):
        pooled = pool(x)
        loss = pooled.float().square().mean()
    loss.backward()
    assert torch.isfinite(pooled).all()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in pool.parameters() if p.grad is not None)


@every_pool
def test_copies_and_saved_weights_give_the_same_numbers(variant: str, tmp_path: Path) -> None:
    pool, x = shaken(variant), digits()
    torch.testing.assert_close(copy.deepcopy(pool)(x), pool(x), atol=0, rtol=0)
    save_file(pool.state_dict(), tmp_path / "pool.safetensors")
    other = make(variant)
    other.load_state_dict(load_file(tmp_path / "pool.safetensors"))
    torch.testing.assert_close(other(x), pool(x), atol=0, rtol=0)
    torch.save(pool.state_dict(), tmp_path / "pool.pt")
    other = make(variant)
    other.load_state_dict(torch.load(tmp_path / "pool.pt", weights_only=True))
    torch.testing.assert_close(other(x), pool(x), atol=0, rtol=0)


@every_pool
def test_torch_export_takes_any_batch(variant: str) -> None:
    pool, x = shaken(variant), digits()
    program = torch.export.export(pool, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},))
    torch.testing.assert_close(program.module()(x[:3]), pool(x[:3]), atol=1e-5, rtol=1e-5)


@every_pool
def test_one_value_a_channel_in_training_works_or_is_a_clear_error(variant: str) -> None:
    side = 3 if "stretched" in variant else 2  # the smallest map that has one window and one patch
    pool, x = make(variant).train(), torch.rand(1, CHANNELS, side, side)
    with contextlib.suppress(ValueError), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.isfinite(pool(x)).all()
        return
    with pytest.raises(ValueError, match="BatchNorm"):
        pool(x)


@pytest.mark.slow
@every_pool
def test_torch_compile_takes_the_whole_graph(variant: str) -> None:
    pool, x = shaken(variant), digits()
    torch._dynamo.reset()
    compiled = torch.compile(pool, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), pool(x), atol=1e-5, rtol=1e-5)


@every_pool
@pytest.mark.parametrize("training", [True, False])
def test_what_follows_in_place_trains(variant: str, training: bool) -> None:
    torch.manual_seed(0)
    pool, x = make(variant).train(training), torch.randn(2, CHANNELS, 8, 8, requires_grad=True)
    state = copy.deepcopy(pool.state_dict())
    gradients = []
    for inplace in (False, True):
        pool.load_state_dict(state)
        torch.manual_seed(0)
        (gradient,) = torch.autograd.grad(nn.functional.relu(pool(x), inplace=inplace).square().sum(), x)
        gradients.append(gradient)
    torch.testing.assert_close(*gradients)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="torch.compile's default backend needs a C++ compiler")
@pytest.mark.parametrize(
    "variant", ["self_attentive", "self_attentive, normalised", "deformable_self_attentive", "attention_strided"]
)
def test_a_compiled_pool_trains_at_a_second_size(variant: str) -> None:
    torch._dynamo.reset()
    pool = make(variant).train()
    compiled = torch.compile(pool)
    for side in (8, 12, 16):
        x = torch.randn(2, CHANNELS, side, side, requires_grad=True)
        gradients = [torch.autograd.grad(form(x).square().sum(), x)[0] for form in (compiled, pool)]
        torch.testing.assert_close(*gradients)
