from __future__ import annotations

import pytest
import torch

import sapool


@pytest.mark.parametrize(
    "name", ["sapool:tiny", "timm:mobilenetv2_035", "torchvision:mobilenet_v2", "authors:resnet18_v2-lip-1222"]
)
def test_networks_have_the_asked_classes(name: str) -> None:
    model = sapool.load_model(name, num_classes=7)
    assert model.training
    assert model.eval()(torch.rand(2, 3, 64, 64)).shape == (2, 7)


def test_a_width_in_the_name_scales_the_channels() -> None:
    half, whole = sapool.load_model("sapool:tiny_050"), sapool.load_model("sapool:tiny")
    convolutions = [
        [m for m in net.modules() if isinstance(m, torch.nn.Conv2d) and m.groups == 1] for net in (half, whole)
    ]
    assert [2 * m.out_channels for m in convolutions[0]] == [m.out_channels for m in convolutions[1]]
    assert half.eval()(torch.rand(2, 3, 32, 32)).shape == (2, 1000)


@pytest.mark.parametrize(
    ("name", "count"),
    [("resnet18-skip-1222", 11_181_642), ("mobilenet_v2-nlp_headfix2-1222121", 2_498_938)],
)
def test_the_authors_networks_have_their_parameters(name: str, count: int) -> None:
    model = sapool.load_model(f"authors:{name}", num_classes=10)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm:mobilnetv2_035", r"unknown model 'timm:mobilnetv2_035': did you mean timm:mobilenetv2_0"),
        ("torchvision:resnet81", "did you mean torchvision:resnet18"),
        ("sapool:tinny", r"did you mean sapool:tiny\?"),
        ("resnet18", "write timm:NAME or torchvision:NAME or sapool:NAME"),
        ("tim:resnet18", "unknown model 'tim:resnet18'"),
        ("timm:", "unknown model 'timm:'"),
        ("authors:resnet18-nlpp-1222", "nlpp"),
        ("authors:dyresnet18-nlp-1222", "leave out the 'dy'"),
        ("sapool:qqqq", "did you mean sapool:tiny"),
    ],
)
def test_unknown_names_get_the_nearest(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        sapool.load_model(name)


def test_bad_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        sapool.load_model("sapool:tiny", 0)
    with pytest.raises(ValueError, match="sapool:tiny has no pretrained weights"):
        sapool.load_model("sapool:tiny", pretrained=True)
    with pytest.raises(ValueError, match="authors:resnet18-skip-1222 has no pretrained weights"):
        sapool.load_model("authors:resnet18-skip-1222", pretrained=True)


@pytest.mark.parametrize("name", ["sapool:tiny", "timm:mobilenetv2_035"])
def test_grey_images(name: str) -> None:
    assert sapool.load_model(name, 4, in_channels=1).eval()(torch.zeros(1, 1, 64, 64)).shape == (1, 4)


@pytest.mark.parametrize("name", ["torchvision:resnet18", "authors:resnet18-skip-1222"])
def test_networks_of_colour_alone(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} takes images of 3 channels, got an input size of 1"):
        sapool.load_model(name, 4, in_channels=1)
