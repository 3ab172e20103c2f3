from __future__ import annotations

import pytest
import torch
import torchvision

from tests.networks.authors.building import build_meta, count


@pytest.mark.parametrize(
    ("name", "stock", "shortcuts"),
    [
        # Where a standard row strides, there is none; elsewhere a change of channels needs one.
        ("mobilenetv3_small-skip-22121111211", "mobilenet_v3_small", [(40, 48)]),
        ("mobilenetv3_large-skip-121211211111211", "mobilenet_v3_large", [(80, 112)]),
    ],
)
def test_mobilenetv3_differs_from_torchvisions_in_excitation_and_shortcuts(
    name: str, stock: str, shortcuts: list[tuple[int, int]]
) -> None:
    theirs = torchvision.models.get_model(stock, weights=None, num_classes=10)
    excitation = torchvision.ops.SqueezeExcitation
    expected = count(theirs) - sum(count(m) for m in theirs.modules() if isinstance(m, excitation))
    for block in theirs.features:
        if any(isinstance(m, excitation) for m in block.modules()):
            channels = block.out_channels
            squeezed = {16: 8, 40: 16, 48: 16, 96: 24, 112: 32, 160: 40}[channels]
            expected += 2 * channels * squeezed + channels + squeezed
    expected += sum(before * after + 2 * after for before, after in shortcuts)
    net = build_meta(name)
    assert count(net) == expected
    assert net.features(torch.empty(1, 3, 64, 64, device="meta")).shape[2:] == (2, 2)
