from __future__ import annotations

import pytest
import torch.nn.functional as F
from torch import Tensor, nn

import sapool
from sapool.base.records import DownsamplingSite, UnsupportedSite


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


class Odd(nn.Module):
    """Every way to shrink a map that is no convolution module, in functional code."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv(x), 3, stride=2, padding=1)
        x = F.avg_pool2d(x, 2)
        return x[:, :, ::2, ::2]


def test_functional_pools_and_slices_are_sites() -> None:
    found = sites_of(Odd(), 32)
    assert [(s.operators, s.before, s.after, s.reduction) for s in found] == [
        (("max_pool2d",), (32, 32), (16, 16), 2),
        (("avg_pool2d",), (16, 16), (8, 8), 2),
        (("getitem",), (8, 8), (4, 4), 2),
    ]


def test_kernels_that_are_even_or_unpadded_are_sites() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 4, 3, 2), nn.Conv2d(4, 4, 2, 2))
    assert [(s.name, s.reduction) for s in sites_of(net, 64)] == [("0", 4), ("1", 2), ("2", 2)]


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.PixelUnshuffle(2), "PixelUnshuffle shrinks the map; only"),
        (nn.AdaptiveMaxPool2d(4), "AdaptiveMaxPool2d shrinks the map"),
        (nn.Conv2d(3, 4, 3, 2, 2), "padded by more than its kernel needs"),
        (nn.Conv2d(3, 4, 4, 2, 1, padding_mode="reflect"), "padding_mode is 'reflect'"),
    ],
)
def test_what_cannot_be_planned_is_listed_with_its_reason(layer: nn.Module, said: str) -> None:
    (found,) = sapool.find_downsampling(nn.Sequential(nn.Identity(), layer), 16)
    assert isinstance(found, UnsupportedSite)
    assert said in found.reason


def test_results_that_nothing_uses_do_not_hide_where_paths_meet() -> None:
    class Wasteful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main, self.short = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(3, 4, 1, 2)
            self.unused = nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            main = self.main(x)
            self.unused(main)
            return main + self.short(x)

    (site,) = sites_of(Wasteful(), 16)
    assert (site.operators, site.exit) == (("main", "short"), "add")


def test_two_sites_of_one_block_have_names_of_their_own() -> None:
    names = [s.name for s in sites_of(sapool.load_model("timm:hgnet_tiny", 10), 64)]
    assert names[:2] == ["stem.stem.0.conv", "stem.pool"]
    assert len(set(names)) == len(names)


def test_an_adaptive_pool_is_not_part_of_the_layer_before() -> None:
    sites = sites_of(sapool.load_model("torchvision:alexnet", 10), 224)
    assert sites[-1].exit == "features_12"


def test_a_stage_is_no_block() -> None:
    sites = sites_of(sapool.load_model("timm:convnext_atto", 10), 64)
    assert [s.exit for s in sites][1:] == [f"stages_{i}_downsample_1" for i in (1, 2, 3)]


def test_a_network_without_down_sampling_has_no_site() -> None:
    assert sapool.find_downsampling(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1)), 8) == ()


class ConvNormAct(nn.Module):
    """Convolution, norm and activation in one module: a layer, not a block."""

    def __init__(self, i: int, o: int, k: int, s: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(i, o, k, s, k // 2, groups=groups)
        self.norm = nn.BatchNorm2d(o)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(self.norm(self.conv(x)))


class Inverted(nn.Module):
    def __init__(self, i: int, o: int, s: int) -> None:
        super().__init__()
        self.expand, self.depth = ConvNormAct(i, 2 * i, 1), ConvNormAct(2 * i, 2 * i, 3, s, 2 * i)
        self.project = nn.Conv2d(2 * i, o, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.depth(self.expand(x)))


def test_a_layer_in_a_module_of_its_own_is_no_block() -> None:
    model = nn.Sequential(ConvNormAct(3, 8, 3, 2), nn.Sequential(Inverted(8, 12, 2), Inverted(12, 12, 1)))
    sites = sites_of(model, 32)
    assert [(s.name, s.out_channels) for s in sites] == [("0.conv", 8), ("1.0", 12)]
    assert sites[0].exit.startswith("relu6")


def depthwise_layers(i: int, o: int, s: int) -> list[nn.Module]:
    return [
        nn.Conv2d(i, 2 * i, 1), nn.BatchNorm2d(2 * i), nn.ReLU6(),
        nn.Conv2d(2 * i, 2 * i, 3, s, 1, groups=2 * i), nn.BatchNorm2d(2 * i), nn.ReLU6(),
        nn.Conv2d(2 * i, o, 1), nn.BatchNorm2d(o),
    ]  # fmt: skip


def test_a_block_written_as_a_sequence_ends_behind_its_projection() -> None:
    nested = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.Sequential(*depthwise_layers(8, 12, 2)))
    assert [(s.name, s.out_channels) for s in sites_of(nested, 32)] == [("1", 12)]
    flat = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), *depthwise_layers(8, 12, 2), *depthwise_layers(12, 16, 2))
    assert [(s.name, s.out_channels) for s in sites_of(flat, 32)] == [("0", 8), ("4", 12), ("12", 16)]


def test_blocks_of_mobilenetv4_and_mixnet_are_whole() -> None:
    names = [s.name for s in sites_of(sapool.load_model("timm:mobilenetv4_conv_small"), 64)]
    assert names[-2:] == ["blocks.2.0", "blocks.3.0"]
    mixed = sites_of(sapool.load_model("timm:mixnet_s"), 64)
    assert [s.name for s in mixed][2:] == ["blocks.2.0", "blocks.3.0", "blocks.5.0"]


def test_the_reduction_is_the_operators_stride_whatever_the_map_rounds_to() -> None:
    model = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(3, 4, 3, 2, 1))
    assert [(s.after, s.reduction) for s in sites_of(model, 7)] == [((3, 3), 2), ((2, 2), 2)]


@pytest.mark.parametrize("head", [nn.AvgPool2d(8), nn.AdaptiveAvgPool2d(1), nn.MaxPool2d(8)])
def test_a_pool_over_the_whole_map_is_a_head(head: nn.Module) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), head, nn.Flatten(), nn.Linear(4, 2))
    assert [s.name for s in sites_of(model, 16)] == ["0"]


def test_shared_and_lopsided_operators_are_unsupported() -> None:
    pool = nn.MaxPool2d(2)
    found = sapool.find_downsampling(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), pool, nn.ReLU(), pool), 16)
    assert all(isinstance(site, UnsupportedSite) and "called 2 times" in site.reason for site in found)
    assert len(found) == 2
    (unpadded,) = sapool.find_downsampling(nn.Sequential(nn.Conv2d(3, 8, 3)), 16)
    assert isinstance(unpadded, UnsupportedSite)
    assert "for want of padding" in unpadded.reason
    (lopsided,) = sapool.find_downsampling(nn.Sequential(nn.Conv2d(3, 8, 3, (2, 1), 1)), 16)
    assert isinstance(lopsided, UnsupportedSite)
    assert "stride (2, 1) does not reduce both sides alike" in lopsided.reason
