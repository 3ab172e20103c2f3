from __future__ import annotations

from typing import Any

import pytest
import torch

from sapool.networks.authors import build


@pytest.mark.parametrize(
    ("name", "seen", "negative"),
    [
        ("resnet18-lip-2121", [(64, 16), (256, 8)], False),
        ("resnet18_v2-lip-2121", [(64, 16), (256, 8)], False),
        ("resnext18-lip-2121", [(64, 16), (256, 8)], False),
        ("resnet50-lip-1222", [(512, 16), (1024, 8), (2048, 4)], False),
        ("prepool-lip-4-resnet18-skip-1222", [(64, 64)], False),
        ("mobilenet-lip-2222121", [(32, 32), (16, 16), (24, 8), (32, 4), (96, 2)], None),
        ("mobilenet_v2-lip-2222121", [(16, 32), (24, 16), (32, 8), (64, 4), (160, 2)], True),
        ("prepool-lip-4-mobilenet_v2-skip-1222121", [(32, 64)], False),
        ("mobilenetv3_small-lip-22121111211", [(16, 32), (24, 16), (40, 8), (96, 4)], True),
    ],
)
def test_pools_stand_where_the_authors_put_them(
    calls: list[dict[str, Any]], name: str, seen: list[tuple[int, int]], negative: bool | None
) -> None:
    torch.manual_seed(0)
    net = build(name, 10).eval()
    assert net(torch.randn(1, 3, 64, 64)).shape == (1, 10)
    assert [(call["channels"], call["side"]) for call in calls] == seen
    # After an activation nothing is negative, after a linear projection half is.
    if negative is not None:
        assert {call["negative"] for call in calls} == {negative}


def test_the_names_settings_reach_the_pools(calls: list[dict[str, Any]]) -> None:
    with torch.device("meta"):
        build("prepool-nlp_reduced-4-resnet18-nlp_nowin_reduced-1222", 10)
    common = {"token": "nlp", "embed_ratio": 1.0, "window_norm": False, "kernel_size": 2}
    assert calls == [
        common
        | {"channels": 64, "kernel_size": 4, "num_heads": 8, "patch_size": 4, "embed_ratio": 0.25, "window_norm": True},
        common | {"channels": 128, "num_heads": 8, "patch_size": 2},
        common | {"channels": 256, "num_heads": 16, "patch_size": 1},
        common | {"channels": 512, "num_heads": 32, "patch_size": 1},
    ]
