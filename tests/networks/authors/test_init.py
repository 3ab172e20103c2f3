from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from sapool.networks.authors import build, parse_name
from sapool.networks.authors.pools import TOKENS
from tests.networks.authors.building import build_meta, count

torchvision = pytest.importorskip("torchvision")

RESULTS = Path(__file__).parents[2] / "data" / "authors_stl10_results.csv"
with RESULTS.open() as file:
    ROWS = list(csv.DictReader(file))
NAMES = sorted({row["name"] for row in ROWS} - {""})

# Ten classes, as torchvision builds them.
STOCK = {"resnet18": 11_181_642, "resnet50": 23_528_522, "mobilenet": 2_236_682}
CHANNELS = {
    "resnet18": (64, 128, 256, 512),
    "resnet50": (256, 512, 1024, 2048),
    "mobilenet": (32, 16, 24, 32, 64, 96, 160),
    "mobilenet_v2": (16, 24, 32, 64, 96, 160, 320),
}


def pool_count(token: str, channels: int, heads: int, patch: int = 1) -> int:
    c, kind = channels, token.split("_")[0]
    if kind == "nlp":
        heads = 2 if "headfix2" in token else heads
        e = max(1, round(c / heads)) * heads
        return patch**2 * c * e + 3 * e + 4 * e * e + 4 * e + e * c + 3 * c + 512 * (e // 2)
    hidden = c // 2
    gaussian = c * hidden + 3 * hidden + 2 * (hidden * c + 3 * c)
    return {"lip": c * c + 3 * c, "gaussian": gaussian, "maxp": 0, "skip": 0}[kind]


def expected_count(name: str) -> int:
    *stem, backbone, token, strides = name.split("-")
    model = backbone.removesuffix("_v2")
    resnet = model in ("resnet18", "resnet50")
    heads = 4 if resnet else 2
    total = STOCK[model]
    for stage, (digit, channels) in enumerate(zip(strides, CHANNELS.get(backbone, CHANNELS[model]), strict=True)):
        total += pool_count(token, channels, heads * 2**stage) if digit != "1" else 0
    # The first stage keeps its 64 channels, so it projects only where a stride makes it.
    if model == "resnet18" and strides[0] != "1" and (token == "skip" or backbone.endswith("_v2")):
        total += 4_224
    return total + (pool_count(stem[1], 64 if resnet else 32, 8, patch=2) if stem else 0)


def expected_reduction(name: str) -> int:
    *stem, backbone, _, strides = name.split("-")
    first = int(stem[2]) if stem else 2
    # Without a prepool, a 2 x 2 max pool follows ResNet's strided convolution.
    if backbone.startswith("resnet") and not stem:
        first *= 2
    return first * math.prod(int(digit) for digit in strides)


@pytest.mark.parametrize("name", NAMES)
def test_every_network_of_the_authors_results(name: str) -> None:
    net = build_meta(name)
    assert count(net) == expected_count(name)
    reduction = expected_reduction(name)
    side = reduction * math.ceil(64 / reduction)
    images = torch.empty(2, 3, side, side, device="meta")
    assert net.features(images).shape[2:] == (side // reduction, side // reduction)
    assert net(images).shape == (2, 10)


def test_unnamed_results_have_a_name_too() -> None:
    """Their columns spell it; four digits for MobileNet are an older grammar."""
    unnamed = {f"{r['backbone']}-{r['pool']}-{r['strides']}" for r in ROWS if not r["name"]}
    older = {name for name in unnamed if name.startswith("mobilenet") and name.endswith("-2121")}
    assert len(older) == 5
    for name in sorted(unnamed - older):
        assert parse_name(name).strides[1:4] == (2, 2, 2)
    assert "resnet18-nlp_headfix2_nowin_noexp-1222" in unnamed


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet18-skip-1222", 11_181_642),
        ("mobilenet_v2-nlp_headfix2-1222121", 2_498_938),
        ("resnet18_v2-nlp-2222", count(build_meta("resnet18-nlp-2222")) + 4_224),
        ("prepool-nlp_headfix2_nowin-2-mobilenet_v2-skip-1222121", 2_236_682 + 17_728),
        ("resnet18-nlp-1221", 11_181_642 + 6 * 128**2 + 266 * 128 + 6 * 256**2 + 266 * 256),
        # Grouping divides the weights of every second 3x3 convolution by 32.
        ("resnext18-skip-1222", 11_181_642 - 2 * 9 * (64**2 + 128**2 + 256**2 + 512**2) * 31 // 32),
    ],
)
def test_parameter_counts_published_or_derived(name: str, parameters: int) -> None:
    assert count(build_meta(name)) == parameters


@pytest.mark.parametrize(
    ("name", "stock"),
    [
        ("resnet18-skip-1222", "resnet18"),
        ("resnet50_v2-skip-1222", "resnet50"),
        ("mobilenet-skip-1222121", "mobilenet_v2"),
        ("prepool-skip-2-mobilenet_v2-skip-1222121", "mobilenet_v2"),
    ],
)
def test_strided_networks_are_torchvisions(name: str, stock: str) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(stock, weights=None, num_classes=10).eval()
    if stock.startswith("resnet"):
        theirs.maxpool = nn.MaxPool2d(2)
    ours = build(name, 10).eval()
    state = theirs.state_dict().values()
    ours.load_state_dict(dict(zip(ours.state_dict(), state, strict=True)))
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "reduction"),
    [
        ("prepool-skip-4-resnet18-skip-1222", 8),  # its stride does nothing
        ("prepool-lip-8-resnext18-skip-1222", 32),  # nor does the prepool
        ("prepool-skip-4-mobilenet-skip-1222121", 64),
        ("prepool-skip-4-mobilenetv3_small-skip-22121111211", 64),
    ],
)
def test_stems_reduce_as_the_authors_code_does(name: str, reduction: int) -> None:
    maps = build_meta(name).features(torch.empty(1, 3, 64, 64, device="meta"))
    assert maps.shape[2:] == (64 // reduction, 64 // reduction)


@pytest.mark.parametrize(
    "name",
    [
        "resnet18_v2-lip-2222",
        "mobilenet-maxp-1222121",
        "mobilenet_v2-lip-1222121",
        "mobilenetv3_small-avgp-" + "2" + "1" * 10,
    ],
)
def test_every_weight_trains(name: str) -> None:
    torch.manual_seed(0)
    net = build(name, 3)
    assert net.training
    net(torch.randn(2, 3, 64, 64)).square().sum().backward()
    for parameter_name, parameter in net.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name


@pytest.mark.parametrize("token", TOKENS)
def test_every_pooling_runs_in_stages_and_stem(token: str) -> None:
    torch.manual_seed(0)
    net = build(f"prepool-{token}-4-mobilenet_v2-{token}-1211121", 5).eval()
    scores = net(torch.randn(1, 3, 64, 64))
    assert scores.shape == (1, 5)
    assert torch.isfinite(scores).all()


def test_bad_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        build("resnet18-skip-1222", 0)
    with pytest.raises(ValueError, match="authors' network 'resnet18-nlp-12': "):
        build("resnet18-nlp-12", 10)
