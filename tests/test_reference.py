"""The passes on a file together, on the network that the memory of self-attentive pooling is quoted for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sapool.export import FILE_PASSES, PASSES, check_parity, export_int8
from sapool.layers import SelfAttentivePool2d
from sapool.memory import profile_tflite
from sapool.tflite import read_graph, write_graph
from tests.passes.running import run_tflm

SIDE = 128


def reference() -> nn.Module:
    """A stem to 32 maps of 64 x 64, pooled by 4, and a classifier."""
    torch.manual_seed(0)
    pool = SelfAttentivePool2d(32, 4, patch_size=4, window_norm=False, num_heads=2)
    layers = [nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), pool, nn.Conv2d(32, 64, 3, 1, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)).eval()


@pytest.mark.slow
def test_the_reference_network_takes_less_than_80_000_bytes_of_head_and_100_000_in_all(tmp_path: Path) -> None:
    given = [torch.rand(8, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))]
    path = tmp_path / "model.tflite"
    record = export_int8(reference(), given, path, passes=[*PASSES, "adjy_matmul"])
    assert record.float_error < 1e-5
    before, after = read_graph(path), read_graph(path)
    for name, change in FILE_PASSES.items():
        if name != "adjy_matmul":
            change(after)
    (expected, arena), (got, smaller) = run_tflm(before), run_tflm(after)
    np.testing.assert_array_equal(got, expected)
    assert arena.head_bytes >= 180_000  # the whole map and the image
    assert smaller.head_bytes <= 80_000
    assert smaller.total_bytes <= 100_000
    assert profile_tflite(write_graph(after)).head_bytes == smaller.head_bytes
    path.write_bytes(write_graph(after))
    assert check_parity(path, given[0]).max_steps <= 1
    kinds = [operator.kind for operator in after.operators]
    assert kinds[0] != "TRANSPOSE"
    assert kinds[-1] != "TRANSPOSE"
    assert not {"PAD", "QUANTIZE", "DEQUANTIZE", "BROADCAST_TO"} & set(kinds)
