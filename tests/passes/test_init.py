from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sapool.export import export_int8, measure_arena, randomize_norms
from sapool.layers import create_pool
from sapool.passes import FILE_PASSES, PASSES, apply_passes, choose_passes
from sapool.tflite import read_graph
from tests.conftest import PooledNet, images, pooled_net


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
def test_no_operator_of_the_traps_is_left(tmp_path: Path) -> None:
    """No PAD copy, no float island, no broadcast; the input is channel-last, so it needs no TRANSPOSE."""
    path = tmp_path / "model.tflite"
    export_int8(pooled_net(), [images()], path)
    found = set(read_graph(path.read_bytes()).kinds())
    assert not found & {"PAD", "EXP", "QUANTIZE", "DEQUANTIZE", "BROADCAST_TO", "SPLIT", "SLICE"}


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
