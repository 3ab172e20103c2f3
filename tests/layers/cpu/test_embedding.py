"""Embedding and averages in one, against torch's own convolution and pooling, and its gradients against differences."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sapool.layers import SelfAttentivePool2d
from sapool.layers.cpu.embedding import _EmbedAndAverage, embed_and_average

# Patch and averaged tile, rows and columns.
CUTS = [((2, 2), (2, 2)), ((4, 4), (2, 2)), ((2, 4), (1, 2)), ((3, 1), (3, 1)), ((6, 2), (3, 2))]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def convolution(patch: tuple[int, int], bias: bool = True) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(3, 4, patch, patch, bias=bias).double()


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Patches are cut in one way on one thread and in another on several."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("patch", "tile"), CUTS)
def test_values_and_gradients_are_the_convolution_and_the_average(
    patch: tuple[int, int], tile: tuple[int, int], bias: bool, threads: int
) -> None:
    conv, x = convolution(patch, bias), random(2, 3, 12, 8)
    leaves = (x, *conv.parameters())
    found = embed_and_average(conv, x, tile)
    assert found is not None
    plain = conv(x), F.avg_pool2d(x, tile)
    seeds = [torch.randn_like(out) for out in plain]
    for ours, theirs in zip(found, plain, strict=True):
        torch.testing.assert_close(ours, theirs)
    moved, expected = (torch.autograd.grad(outs, leaves, seeds) for outs in (found, plain))
    torch.testing.assert_close(moved, expected)
    assert moved[0].is_contiguous()


@pytest.mark.parametrize("used", [0, 1])
def test_either_may_be_used_alone(used: int) -> None:
    conv, x = convolution((4, 4)), random(2, 3, 12, 8)
    found = embed_and_average(conv, x, (2, 2))
    assert found is not None
    plain = (conv(x), F.avg_pool2d(x, 2))[used]
    torch.testing.assert_close(
        torch.autograd.grad(found[used].square().sum(), x), torch.autograd.grad(plain.square().sum(), x)
    )


def test_the_gradients_it_is_given_stay_as_they_are() -> None:
    conv, x = convolution((4, 4)), random(2, 3, 12, 8)
    found = embed_and_average(conv, x, (2, 2))
    assert found is not None
    seeds = [torch.ones_like(out) for out in found]
    torch.autograd.grad(found, x, seeds)
    assert all(bool((seed == 1).all()) for seed in seeds)


def test_a_frozen_convolution_gets_no_gradient() -> None:
    conv, x = convolution((4, 4)).requires_grad_(False), random(2, 3, 12, 8)
    found = embed_and_average(conv, x, (2, 2))
    assert found is not None
    (found[0].sum() + found[1].sum()).backward()
    assert conv.weight.grad is None
    assert x.grad is not None


# torch's forward mode scripts its own formulas on first use.
@pytest.mark.filterwarnings("ignore:`torch.jit.script`:FutureWarning", "ignore:`torch.jit.script`:DeprecationWarning")
@pytest.mark.parametrize(("patch", "tile"), CUTS[1:3])
def test_first_second_and_forward_gradients(patch: tuple[int, int], tile: tuple[int, int]) -> None:
    conv, x = convolution(patch), random(2, 3, 4, 4)
    assert conv.bias is not None

    def apply(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return _EmbedAndAverage.apply(x, weight, bias, patch, tile)

    leaves = (x, conv.weight.detach().clone().requires_grad_(), conv.bias.detach().clone().requires_grad_())
    assert torch.autograd.gradcheck(apply, leaves, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(apply, leaves)


def test_what_it_is_not_for() -> None:
    x, conv = random(2, 3, 12, 8), convolution((4, 4))
    assert embed_and_average(conv, x.detach(), (2, 2)) is None
    assert embed_and_average(conv, x[:, :, :11], (2, 2)) is None
    assert embed_and_average(nn.Sequential(conv), x, (2, 2)) is None
    assert embed_and_average(conv, x, (1, 1)) is None
    conv.register_forward_hook(lambda module, args, out: None)
    assert embed_and_average(conv, x, (2, 2)) is None


def test_gradients_of_every_sample_alone() -> None:
    torch.manual_seed(0)
    pool = SelfAttentivePool2d(3, 2, patch_size=4).double().eval()
    x = random(3, 3, 8, 8).detach()

    def loss(image: Tensor) -> Tensor:
        return pool(image[None]).square().sum()

    found = torch.func.vmap(torch.func.grad(loss))(x)
    for image, ours in zip(x, found, strict=True):
        image = image.clone().requires_grad_()
        torch.testing.assert_close(ours, torch.autograd.grad(loss(image), image)[0])
