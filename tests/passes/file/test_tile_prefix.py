from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sapool.export import export_int8, measure_arena, randomize_norms, run_images
from sapool.layers import SelfAttentivePool2d
from sapool.passes.file.tile_prefix import tile_prefix
from sapool.tflite import count_macs, read_graph, write_graph


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 4 * channels
        self.body = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.Hardswish(),
            nn.Conv2d(wide, wide, 3, 1, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.Hardswish(),
            nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU6(), Residual(8),
        SelfAttentivePool2d(8, 4, patch_size=4, window_norm=False),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    ]  # fmt: skip
    return randomize_norms(nn.Sequential(*layers)).eval()


@pytest.mark.slow
def test_an_exported_network_in_tiles_gives_the_same_scores(tmp_path: Path) -> None:
    """From PyTorch to both interpreters: a strided stem, a residual block and the local part of a pool."""
    images = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    export_int8(network(), [images], tmp_path / "whole.tflite", passes=["fold_padding", "merged_attention"])
    whole = (tmp_path / "whole.tflite").read_bytes()
    model = read_graph(whole)
    assert tile_prefix(model) >= 1
    (tmp_path / "tiled.tflite").write_bytes(write_graph(model))
    for engine in ("tflm", "litert"):
        scores = [run_images(tmp_path / name, images, engine) for name in ("whole.tflite", "tiled.tflite")]
        assert len(np.unique(scores[0])) > 4
        np.testing.assert_array_equal(scores[1], scores[0])
    before, after = measure_arena(tmp_path / "whole.tflite"), measure_arena(tmp_path / "tiled.tflite")
    assert after.total_bytes < 0.6 * before.total_bytes
    tiled = (tmp_path / "tiled.tflite").read_bytes()
    assert count_macs(read_graph(tiled)) <= 1.2 * count_macs(read_graph(whole))
    assert read_graph(tiled).kinds()["CONV_2D"] == read_graph(whole).kinds()["CONV_2D"]  # no operator is there twice
