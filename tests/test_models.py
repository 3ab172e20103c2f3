from __future__ import annotations

import pytest
import torch

import sapool


@pytest.mark.parametrize("name", ["sapool:tiny", "timm:mobilenetv2_035", "torchvision:mobilenet_v2"])
def test_networks_have_the_asked_classes(name: str) -> None:
    model = sapool.load_model(name, num_classes=7)
    assert model.training
    assert model.eval()(torch.rand(2, 3, 64, 64)).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm:mobilnetv2_035", r"unknown model 'timm:mobilnetv2_035': did you mean timm:mobilenetv2_0"),
        ("torchvision:resnet81", "did you mean torchvision:resnet18"),
        ("sapool:tinny", r"did you mean sapool:tiny\?"),
        ("resnet18", "write timm:NAME or torchvision:NAME or sapool:NAME"),
        ("tim:resnet18", "unknown model 'tim:resnet18'"),
        ("timm:", "unknown model 'timm:'"),
        ("sapool:qqqq", "sapool has no such network"),
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
