from __future__ import annotations

import pytest
import torch
from torch import nn

from sapool.networks.tiny import InvertedResidual, TinyNet


@pytest.mark.parametrize(("width", "stem", "head"), [(1.0, 16, 128), (0.5, 8, 64), (0.25, 4, 32), (2.0, 32, 256)])
def test_widths_scale_every_layer_in_fours(width: float, stem: int, head: int) -> None:
    net = TinyNet(7, in_channels=1, width=width)
    assert net.get_submodule("stem.0").out_channels == stem
    assert net.classifier.in_features == head
    assert all(m.out_channels % 4 == 0 for m in net.modules() if isinstance(m, nn.Conv2d))
    assert net(torch.rand(2, 1, 32, 48)).shape == (2, 7)


def test_it_halves_the_map_four_times() -> None:
    net = TinyNet().eval()
    maps = net.blocks(net.act(net.stem(torch.rand(1, 3, 64, 96))))
    assert maps.shape[2:] == (4, 6)


def test_a_block_adds_its_input_only_where_it_can() -> None:
    x = torch.rand(1, 8, 6, 6)
    for block, adds in ((InvertedResidual(8, 8, 1, 2), True), (InvertedResidual(8, 8, 2, 2), False)):
        block.eval()
        with torch.no_grad():
            block.get_parameter("project.1.weight").zero_()
            assert block.residual is adds
            assert torch.equal(block(x), x) if adds else not block(x).any()
