from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from sapool import find_downsampling
from sapool.base.records import UnsupportedSite
from sapool.networks.operators import Operator, read_operator, samples
from sapool.networks.traced import trace


def operators(layer: nn.Module, size: int = 16) -> list[Operator | str]:
    traced = trace(nn.Sequential(nn.Identity(), layer), size)
    return [read_operator(traced, node) for node in traced.module.graph.nodes if samples(traced, node)]


@pytest.mark.parametrize(
    ("layer", "kind", "stride", "extra"),
    [
        (nn.Conv2d(3, 4, 3, 2, 1), "conv", 2, (0, 0)),
        (nn.Conv2d(3, 4, 4, 4), "conv", 4, (3, 3)),
        (nn.Conv2d(3, 4, (2, 3), 2), "conv", 2, (1, 2)),
        (nn.Conv2d(3, 4, 3, 2, 2, dilation=2), "conv", 2, (0, 0)),
        (nn.MaxPool2d(3, 2, 1), "max", 2, (0, 0)),
        (nn.AvgPool2d(2), "avg", 2, (0, 0)),
    ],
)
def test_operators_are_read(layer: nn.Module, kind: str, stride: int, extra: tuple[int, int]) -> None:
    (found,) = operators(layer)
    assert isinstance(found, Operator)
    assert (found.kind, found.stride, found.extra_pad) == (kind, stride, extra)


@pytest.mark.parametrize("layer", [nn.Linear(16, 4), nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 16), nn.Softmax(1)])
def test_heads_and_layers_that_do_not_sample_are_passed_over(layer: nn.Module) -> None:
    assert operators(layer) == []


def test_the_extra_zeros_keep_every_sample_in_its_place() -> None:
    torch.manual_seed(0)
    for kernel, padding, stride in ((4, 0, 4), (2, 0, 2), (4, 1, 2), (6, 2, 3)):
        conv = nn.Conv2d(3, 4, kernel, stride, padding).double()
        (found,) = operators(conv, 24)
        assert isinstance(found, Operator)
        x = torch.rand(2, 3, 24, 24, dtype=torch.float64)
        dense = nn.functional.pad(x, (0, found.extra_pad[1], 0, found.extra_pad[0]))
        full = nn.functional.conv2d(dense, conv.weight, conv.bias, 1, padding)
        assert full.shape[2:] == x.shape[2:]
        kept = conv(x)
        torch.testing.assert_close(full[:, :, ::stride, ::stride][:, :, : kept.shape[2], : kept.shape[3]], kept)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.jit.script])
def test_what_shrinks_inside_a_wrapper_is_listed_by_its_own_name(wrap: Callable[[nn.Module], nn.Module]) -> None:
    part = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.MaxPool2d(2))
    found = find_downsampling(nn.Sequential(wrap(part), nn.Conv2d(4, 4, 3, 2, 1)), 32)
    inner = "0.module" if wrap is nn.DataParallel else "0"
    assert [site.name for site in found] == [f"{inner}.0", f"{inner}.1", "1"]
    assert all(isinstance(site, UnsupportedSite) and "it is inside 0 (" in site.reason for site in found[:2])
