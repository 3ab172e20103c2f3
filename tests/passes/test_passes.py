from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sapool.export import export_int8, measure_arena, randomize_norms, run_images
from sapool.layers import SelfAttentivePool2d, TokenAttention, create_pool
from sapool.passes import FILE_PASSES, PASSES, apply_passes, choose_passes
from sapool.passes.network.affine_gate import BOUND, SHIFT, SLOPE
from sapool.passes.network.fold_tiles import fold_tiles
from sapool.passes.network.window_softmax import use_window_softmax
from sapool.tflite.file import count_operators
from tests.conftest import PooledNet, images, pooled_net
from tests.layers.oracle import randomize


def strided_net() -> nn.Module:
    torch.manual_seed(0)
    blocks = [
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6(),
        nn.Conv2d(8, 8, 3, 2, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6(),
        nn.Conv2d(8, 16, 5, 4, 2), nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
    ]  # fmt: skip
    return randomize_norms(nn.Sequential(*blocks)).eval()


def tiled_net() -> nn.Module:
    torch.manual_seed(0)
    return randomize_norms(PooledNet(create_pool("space_to_depth", 8, 2))).eval()


NETWORKS = {
    "fold_tiles": tiled_net,
    "fold_padding": strided_net,
    "merged_attention": pooled_net,
    "split_heads": lambda: pooled_net(num_heads=8, patch_size=2),
    "constant_position": pooled_net,
    # With weights at full resolution, where the float island around EXP is what fills the arena.
    "affine_gate": lambda: pooled_net(patch_size=1, window_norm=True, max_keys=16),
}
# Bound on the float outputs' change. The gate's bound is 0.0027 of each weight, on outputs of about one.
TOLERANCE = {
    "fold_tiles": 1e-6,
    "fold_padding": 1e-6,
    "merged_attention": 1e-5,
    "split_heads": 1e-5,
    "constant_position": 0.0,
    "affine_gate": 5e-3,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_pass_keeps_the_outputs(name: str) -> None:
    model = NETWORKS[name]()
    x = images()
    expected = model(x)
    assert apply_passes(model, x[:1], [name]) == (name,)
    torch.testing.assert_close(model(x), expected, atol=TOLERANCE[name], rtol=0)
    # A second time there is nothing left to do.
    assert apply_passes(model, x[:1], [name]) == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NETWORKS, "adjy_matmul"])
def test_a_pass_makes_the_arena_smaller(name: str, tmp_path: Path) -> None:
    model = NETWORKS.get(name, pooled_net)()
    others = [other for other in (*PASSES, *FILE_PASSES) if other != name]
    totals = {}
    for label, passes in (("without", others), ("with", [*others, name])):
        record = export_int8(model, [images()], tmp_path / f"{label}.tflite", passes=passes)
        assert (name in record.passes) == (label == "with")
        totals[label] = measure_arena(tmp_path / f"{label}.tflite").total_bytes
    assert totals["with"] < totals["without"]


@pytest.mark.slow
def test_the_matrix_product_rewrite_is_the_same_function(tmp_path: Path) -> None:
    """The same sums: only the rounding of FULLY_CONNECTED goes."""
    model = pooled_net()
    for label, passes in (("fc", list(PASSES)), ("bmm", "all")):
        export_int8(model, [images()], tmp_path / f"{label}.tflite", passes=passes)
    data = {label: (tmp_path / f"{label}.tflite").read_bytes() for label in ("fc", "bmm")}
    assert count_operators(data["fc"])["FULLY_CONNECTED"] == 5
    assert count_operators(data["bmm"])["FULLY_CONNECTED"] == 1
    assert count_operators(data["bmm"])["BATCH_MATMUL"] == 4
    difference = run_images(tmp_path / "fc.tflite", images()).astype(int) - run_images(
        tmp_path / "bmm.tflite", images()
    )
    assert np.abs(difference).max() <= 1


@pytest.mark.slow
def test_no_operator_of_the_traps_is_left(tmp_path: Path) -> None:
    """No PAD copy, no float island, no broadcast; the input is channel-last, so it needs no TRANSPOSE."""
    path = tmp_path / "model.tflite"
    export_int8(pooled_net(), [images()], path)
    found = set(count_operators(path.read_bytes()))
    assert not found & {"PAD", "EXP", "QUANTIZE", "DEQUANTIZE", "BROADCAST_TO", "SPLIT", "SLICE"}


def test_the_gates_bound_holds_everywhere() -> None:
    z = torch.linspace(-60, 60, 2_000_001, dtype=torch.float64)
    near = 1 + (torch.e - 1) * torch.sigmoid(SLOPE * z + SHIFT)
    assert (near - torch.exp(torch.sigmoid(z))).abs().max() < BOUND


@pytest.mark.parametrize("size", [16, 17, 31, 32])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 2, 1), (5, 2, 2), (7, 2, 3), (3, 4, 1), (1, 2, 0), (4, 2, 1)]
)
def test_folding_is_exact_for_every_size(kernel: int, stride: int, padding: int, size: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, kernel, stride, padding)).eval()
    x = torch.randn(2, 3, size, size)
    expected = model(x)
    apply_passes(model, x, ["fold_padding"])
    torch.testing.assert_close(model(x), expected, atol=1e-6, rtol=1e-6)


def test_folding_leaves_alone_what_same_padding_does_already() -> None:
    odd = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1)).eval()
    assert apply_passes(odd, torch.rand(1, 3, 17, 17), ["fold_padding"]) == ()
    reflected = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, padding_mode="reflect")).eval()
    assert apply_passes(reflected, torch.rand(1, 3, 16, 16), ["fold_padding"]) == ()


@pytest.mark.parametrize("heads", [1, 2, 3, 4])
@pytest.mark.parametrize("max_keys", [None, 6])
def test_merged_attention_for_every_number_of_heads(heads: int, max_keys: int | None) -> None:
    torch.manual_seed(heads)
    pool = SelfAttentivePool2d(12, 2, num_heads=heads, patch_size=2, max_keys=max_keys)
    model = randomize_norms(PooledNet(pool, 12)).eval()
    for parameter in pool.attention.parameters():
        nn.init.normal_(parameter, std=0.5)
    expected = model(images())
    assert apply_passes(model, images(1), ["merged_attention"]) == ("merged_attention",)
    torch.testing.assert_close(model(images()), expected, atol=1e-5, rtol=1e-5)


def test_many_heads_stay_batched() -> None:
    model = PooledNet(SelfAttentivePool2d(8, 2, num_heads=8, patch_size=2)).eval()
    assert apply_passes(model, images(1), ["merged_attention"]) == ()


def test_keys_over_the_cap_are_averaged_down_with_a_warning() -> None:
    model = pooled_net(patch_size=1, window_norm=True, max_keys=None)
    x = images(1, 48)
    with pytest.warns(UserWarning, match=r"pool\.attention attends to 576 keys; int8 soft-max can bear 256"):
        assert apply_passes(model, x, ["cap_keys"]) == ("cap_keys",)
    attention = model.get_submodule("pool.attention")
    assert isinstance(attention, TokenAttention)
    assert attention.max_keys == 256
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert apply_passes(pooled_net(max_keys=None), images(1), ["cap_keys"]) == ()


def test_passes_are_chosen_by_name_in_their_own_order() -> None:
    assert choose_passes("all") == (*PASSES, *FILE_PASSES)
    assert choose_passes("none") == ()
    assert choose_passes("affine_gate, fold_padding") == ("fold_padding", "affine_gate")
    with pytest.raises(ValueError, match="unknown pass 'fold': choose from all, none, cap_keys, fold_tiles"):
        choose_passes(["fold"])


def test_the_network_given_is_not_changed(tmp_path: Path) -> None:
    model = pooled_net()
    before: dict[str, Tensor] = copy.deepcopy(model.state_dict())
    x = images()
    expected = model(x)
    apply_passes(copy.deepcopy(model), x[:1], choose_passes("all"))
    assert torch.equal(model(x), expected)
    assert before.keys() == model.state_dict().keys()


@pytest.mark.parametrize("size", [(16, 16), (13, 18)])
@pytest.mark.parametrize(
    ("name", "side", "kwargs"),
    [
        ("space_to_depth", 2, {}),
        ("space_to_depth", 4, {}),
        ("space_to_depth", 4, {"conv_kernel_size": 1}),
        ("space_to_depth", 2, {"conv_kernel_size": 5}),
        ("haar", 2, {}),
        ("haar", 4, {"norm": False}),
        ("haar", 8, {}),
    ],
)
def test_tiles_fold_into_one_convolution(name: str, side: int, kwargs: dict[str, Any], size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    pool = randomize_norms(create_pool(name, 4, side, **kwargs)).double().eval()
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    model = nn.Sequential(copy.deepcopy(pool))
    assert fold_tiles(model, x) == 1
    assert [m.stride for m in model.modules() if isinstance(m, nn.Conv2d)] == [(side, side)]
    torch.testing.assert_close(model(x), pool(x), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "window", "kwargs"),
    [
        ("soft", (2,), {}),
        ("soft", (3, 2), {}),
        ("lip", (4,), {}),
        ("lip_1x1", ((2, 3), (1, 2)), {}),
        ("self_attentive", (4,), {"window_norm": True, "patch_size": 2, "gain": 12.0}),
        ("self_attentive", (2,), {"window_norm": True, "patch_size": 1, "gate": "sigmoid"}),
    ],
)
def test_window_softmax_is_the_quotient(name: str, window: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    pool = create_pool(name, 4, *window, **kwargs).eval()
    randomize(pool)
    x = torch.randn(2, 4, 13, 18)
    model = nn.Sequential(copy.deepcopy(pool))
    assert use_window_softmax(model, x) == 1
    torch.testing.assert_close(model(x), pool(x), atol=1e-6, rtol=1e-5)


def test_window_softmax_gives_padding_less_weight_than_an_int8_step() -> None:
    pool = create_pool("soft", 4, 3, 2, 1).eval()
    x = torch.randn(2, 4, 13, 18)
    model = nn.Sequential(copy.deepcopy(pool))
    assert use_window_softmax(model, x[:1] - 1) == 1  # the second image's logits are none of those seen
    difference = (model(x) - pool(x)).abs()
    assert difference[..., 1:-1, 1:-1].max() < 1e-6
    assert 0 < difference.max() < x.abs().max() / 256
