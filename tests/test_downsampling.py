from __future__ import annotations

import pytest
import torch.nn.functional as F
from torch import Tensor, nn

import sapool
from sapool.records import DownsamplingSite, UnsupportedSite


def sites_of(model: nn.Module, size: int) -> list[DownsamplingSite]:
    found = sapool.find_downsampling(model, size)
    assert all(isinstance(site, DownsamplingSite) for site in found)
    return [site for site in found if isinstance(site, DownsamplingSite)]


def test_tiny_has_a_stem_and_three_blocks() -> None:
    sites = sites_of(sapool.load_model("sapool:tiny"), 64)
    assert [(s.name, s.before, s.after) for s in sites] == [
        ("stem.0", (64, 64), (32, 32)),
        ("blocks.0", (32, 32), (16, 16)),
        ("blocks.2", (16, 16), (8, 8)),
        ("blocks.4", (8, 8), (4, 4)),
    ]
    # The exit is behind the projection, where channels are few, not behind the strided depthwise convolution.
    assert [(s.in_channels, s.out_channels) for s in sites] == [(3, 16), (48, 24), (72, 40), (120, 64)]
    assert sites[1].operators == ("blocks.0.depthwise.0",)


@pytest.mark.parametrize(
    ("name", "stem", "blocks"),
    [
        ("timm:mobilenetv2_035", "conv_stem", ["blocks.1.0", "blocks.2.0", "blocks.3.0", "blocks.5.0"]),
        ("torchvision:mobilenet_v2", "features.0.0", ["features.2", "features.4", "features.7", "features.14"]),
    ],
)
def test_mobilenet_sites_are_its_strided_blocks(name: str, stem: str, blocks: list[str]) -> None:
    sites = sites_of(sapool.load_model(name), 97)
    assert [s.name for s in sites] == [stem, *blocks]
    assert [s.after for s in sites] == [(49, 49), (25, 25), (13, 13), (7, 7), (4, 4)]


def test_squeeze_and_excitation_and_the_head_are_no_sites() -> None:
    sites = sites_of(sapool.load_model("timm:mobilenetv3_small_050"), 64)
    assert [s.name for s in sites] == ["conv_stem", "blocks.0.0", "blocks.1.0", "blocks.2.0", "blocks.4.0"]


def test_main_path_and_shortcut_are_one_site() -> None:
    sites = sites_of(sapool.load_model("torchvision:resnet18"), 64)
    assert [s.name for s in sites] == ["conv1", "maxpool", "layer2.0", "layer3.0", "layer4.0"]
    assert sites[2].operators == ("layer2.0.conv1", "layer2.0.downsample.0")
    assert sites[2].out_channels == 128


def test_what_cannot_be_planned_is_listed_with_its_reason() -> None:
    class Functional(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.max_pool2d(x, 2)

    (found,) = sapool.find_downsampling(nn.Sequential(Functional()), 8)
    assert isinstance(found, UnsupportedSite)
    assert "only convolutions and max or average pooling modules" in found.reason
    (patchify,) = sapool.find_downsampling(nn.Sequential(nn.Conv2d(3, 4, 4, 4)), 8)
    assert isinstance(patchify, UnsupportedSite)
    assert "kernel (4, 4)" in patchify.reason


def test_a_network_without_down_sampling_has_no_site() -> None:
    assert sapool.find_downsampling(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1)), 8) == ()
