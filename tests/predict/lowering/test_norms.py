from __future__ import annotations

from torch import nn

from tests.predict.lowering.lowered import kinds, lowered


def test_a_norm_without_a_convolution_is_four_operators() -> None:
    net = nn.Sequential(nn.MaxPool2d(2), nn.BatchNorm2d(3))
    assert kinds(lowered(net)) == ["MAX_POOL_2D", "SUB", "MUL", "MUL", "ADD"]


def test_layer_and_group_norms_are_written_out() -> None:
    flat = lowered(nn.Sequential(nn.Flatten(), nn.LayerNorm(3 * 16 * 16)))
    assert kinds(flat).count("MEAN") == 2
    assert "RSQRT" in kinds(flat)
    for groups in (1, 4, 8):
        graph = lowered(nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(groups, 8)))
        assert kinds(graph).count("MEAN") == 2
        (inverse,) = (op for op in graph.operators if op.kind == "RSQRT")
        assert graph.tensors[inverse.outputs[0]].shape == (1, groups, 1, 1)
