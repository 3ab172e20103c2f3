from __future__ import annotations

import torch
from torch import nn

from sapool.pruning.snapshot import Snapshot, is_plain, plain_attributes
from sapool.pruning.trimming import Trimmer


def test_what_a_trimming_changes_comes_back() -> None:
    conv, norm = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)
    model = nn.Sequential(conv, norm)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    x = torch.rand(2, 3, 4, 4)
    expected = model.eval()(x)
    snapshot = Snapshot(model.modules())
    trimmer = Trimmer(lambda *_: None)
    trimmer.outputs(conv, [0, 2, 4])
    trimmer.norm(norm, [0, 2, 4])
    assert [model(x).shape[1], conv.out_channels, norm.num_features] == [3, 3, 3]
    snapshot.restore()
    assert [conv.out_channels, norm.num_features] == [8, 8]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(model(x), expected)


def test_numbers_are_plain_and_flags_are_not() -> None:
    assert all(map(is_plain, (0, 7, (1, 2), [3])))
    assert not any(map(is_plain, (True, 1.5, "3", (), (1, (2,)), None)))
    assert plain_attributes(nn.Conv2d(3, 8, (1, 3))) == {
        "in_channels": 3, "out_channels": 8, "kernel_size": (1, 3), "stride": (1, 1), "padding": (0, 0),
        "dilation": (1, 1), "output_padding": (0, 0), "groups": 1,
    }  # fmt: skip
