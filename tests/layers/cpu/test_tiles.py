"""The training forms of tiles against torch's own operators, and each gradient against finite differences."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sapool.layers import SelfAttentivePool2d, TokenAttention
from sapool.layers import attention as attention_module
from sapool.layers.cpu.tiles import Patches, SpreadTiles, TileSums, Unpatch, convolve_tiles, trains_on_cpu

TILES = [(1, 1), (2, 2), (2, 4), (3, 1)]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def gradients(out: Tensor, *leaves: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(out, leaves, torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)))


@pytest.mark.parametrize("tile", TILES)
def test_sums_and_spread_are_pooling_and_nearest_upsampling(tile: tuple[int, int]) -> None:
    x, small = random(2, 3, 6, 8), random(2, 3, 6 // tile[0], 8 // tile[1])
    pooled = F.avg_pool2d(x, tile, divisor_override=1)
    torch.testing.assert_close(TileSums.of(x, tile), pooled)
    torch.testing.assert_close(gradients(TileSums.of(x, tile), x), gradients(pooled, x))
    spread = F.interpolate(small, scale_factor=tile, mode="nearest")
    torch.testing.assert_close(SpreadTiles.of(small, tile), spread)
    torch.testing.assert_close(gradients(SpreadTiles.of(small, tile), small), gradients(spread, small))


@pytest.mark.parametrize("tile", TILES)
def test_patches_are_unfolded_tiles_and_unpatch_puts_them_back(tile: tuple[int, int]) -> None:
    x = random(2, 3, 6, 8)
    patches = Patches.of(x, tile)
    torch.testing.assert_close(patches.view(2, 3 * tile[0] * tile[1], -1), F.unfold(x, tile, stride=tile))
    torch.testing.assert_close(Unpatch.of(patches, tile), x, rtol=0, atol=0)


# torch's forward mode scripts its own formulas on first use.
@pytest.mark.filterwarnings("ignore:`torch.jit.script`:FutureWarning", "ignore:`torch.jit.script`:DeprecationWarning")
@pytest.mark.parametrize(
    ("operation", "shape"),
    [(TileSums, (2, 2, 6, 8)), (SpreadTiles, (2, 2, 3, 2)), (Patches, (2, 2, 6, 8)), (Unpatch, (2, 2, 8, 3, 2))],
)
def test_first_second_and_forward_gradients(operation: type[TileSums], shape: tuple[int, ...]) -> None:
    x = random(*shape)

    def apply(x: Tensor) -> Tensor:
        return operation.of(x, (2, 4))

    assert torch.autograd.gradcheck(apply, x, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(apply, x)
    many = torch.stack((x, 2 * x)).detach()
    torch.testing.assert_close(torch.func.vmap(apply)(many), torch.stack([apply(one) for one in many]))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("tile", TILES)
def test_convolution_over_tiles_is_the_convolution(tile: tuple[int, int], bias: bool) -> None:
    conv, x = nn.Conv2d(3, 5, tile, tile, bias=bias).double(), random(2, 3, 6, 8)
    leaves = (x, *conv.parameters())
    fast, plain = convolve_tiles(conv, x), conv(x)
    assert "Convolution" not in str(fast.grad_fn.next_functions)  # type: ignore[union-attr]
    torch.testing.assert_close(fast, plain)
    torch.testing.assert_close(gradients(fast, *leaves), gradients(plain, *leaves))
    assert gradients(convolve_tiles(conv, x), x)[0].is_contiguous()


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 2, 1),
        nn.Conv2d(4, 4, 2, 2, padding=1),
        nn.Conv2d(4, 4, 2, 2, dilation=2),
        nn.Conv2d(4, 4, 2, 2, groups=2),
        nn.Conv2d(4, 4, 5, 5),
        nn.Sequential(nn.Conv2d(4, 4, 1)),
    ],
)
def test_any_other_module_is_called(conv: nn.Module) -> None:
    x = random(2, 4, 6, 8)
    torch.testing.assert_close(convolve_tiles(conv.double(), x), conv(x), rtol=0, atol=0)


def test_a_hooked_convolution_is_called() -> None:
    conv, seen = nn.Conv2d(4, 4, 2, 2).double(), []
    conv.register_forward_hook(lambda module, args, out: seen.append(out.shape))
    convolve_tiles(conv, random(2, 4, 6, 8))
    assert seen == [(2, 4, 3, 4)]


def test_only_a_plain_map_that_wants_a_gradient_takes_the_training_form() -> None:
    x = random(2, 3, 4, 4)
    assert trains_on_cpu(x)
    with torch.no_grad():
        assert not trains_on_cpu(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert not trains_on_cpu(x)
    others = (x.detach(), x.half(), x.transpose(2, 3), x.to(memory_format=torch.channels_last), x[:0])
    assert not any(trains_on_cpu(other) for other in others)


@pytest.mark.parametrize("max_keys", [None, 4])
def test_attention_in_training_is_the_fused_attention(max_keys: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    attention, tokens = TokenAttention(6, 2, max_keys).double(), random(2, 6, 3, 4)
    leaves = (tokens, *attention.parameters())
    fast = attention(tokens)
    monkeypatch.setattr(attention_module, "FEW_SCORES", 0)
    fused = attention(tokens)
    torch.testing.assert_close(fast, fused)
    # The key's bias shifts all scores of a query alike: its gradient is nought but for rounding.
    torch.testing.assert_close(gradients(fast, *leaves), gradients(fused, *leaves), rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("patch", [2, 4])
@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_the_pool_trains_as_in_its_general_form(patch: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    pool, x = SelfAttentivePool2d(6, 2, patch_size=patch).double().train(), random(2, 6, *size)
    other = copy.deepcopy(pool)
    fast, general = pool(x), other(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(fast, general)
    torch.testing.assert_close(pool.state_dict(), other.state_dict())
    fast_gradients, general_gradients = (
        gradients(fast, x, *pool.parameters()),
        gradients(general, x, *other.parameters()),
    )
    torch.testing.assert_close(fast_gradients, general_gradients, rtol=1e-6, atol=1e-10)
