from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sapool.layers.haar import HaarPool2d, haar_bands
from tests.layers.contract import check_graphs
from tests.layers.oracle import randomize


def make(
    *args: Any, size: tuple[int, int] = (8, 8), dtype: torch.dtype = torch.float64, **kwargs: Any
) -> tuple[HaarPool2d, Tensor]:
    torch.manual_seed(0)
    pool = HaarPool2d(*args, **kwargs).to(dtype)
    randomize(pool)
    return pool, torch.randn(2, args[0], *size, dtype=dtype)


def packet_matrix(levels: int) -> Tensor:
    """The transform of one window as an (s^2, s^2) matrix, rows in the layer's order of bands, columns row-major."""
    line = {"": torch.ones(1, dtype=torch.float64)}
    for _ in range(levels):
        # A further level sums or subtracts the results of the ones before over neighbouring blocks.
        line = {
            name + last: torch.cat((basis, basis if last == "L" else -basis)) / 2**0.5
            for name, basis in line.items()
            for last in "LH"
        }
    rows = []
    for index in range(4**levels):
        # The last level varies slowest along the channels; a digit is LL, LH, HL, HH.
        digits = [(index // 4**level) % 4 for level in range(levels)]
        across = "".join("LLHH"[digit] for digit in digits)
        down = "".join("LHLH"[digit] for digit in digits)
        rows.append(torch.outer(line[down], line[across]).flatten())
    return torch.stack(rows)


def in_loops(pool: HaarPool2d, x: Tensor, norm: nn.BatchNorm2d | None) -> Tensor:
    side = pool.window.kernel_size[0]
    matrix = packet_matrix(pool.levels)
    out = torch.zeros(x.shape[0], x.shape[1], x.shape[2] // side, x.shape[3] // side, dtype=x.dtype)
    assert pool.mix.bias is not None
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            pixels = x[:, :, i * side : (i + 1) * side, j * side : (j + 1) * side].flatten(2)
            bands = torch.stack([(pixels * row).sum(2) for row in matrix], dim=1).flatten(1)
            out[:, :, i, j] = bands @ pool.mix.weight[:, :, 0, 0].t() + pool.mix.bias
    return out if norm is None else F.relu(norm(out))


@pytest.mark.parametrize("side", [2, 4, 8])
@pytest.mark.parametrize("size", [(8, 8), (9, 17), (12, 8)])
@pytest.mark.parametrize("mode", ["eval", "train", "no norm"])
def test_equals_the_formula_in_loops(side: int, size: tuple[int, int], mode: str) -> None:
    pool, x = make(3, side, size=size, norm=mode != "no norm")
    pool.train(mode == "train")
    norm = None
    if pool.mix_norm is not None:
        norm = nn.BatchNorm2d(3, dtype=x.dtype).train(pool.training)
        norm.load_state_dict(pool.mix_norm.state_dict())
    expected = in_loops(pool, x, norm)
    torch.testing.assert_close(pool(x), expected)
    assert pool(x).shape == nn.MaxPool2d(side)(x).shape


def test_bands_of_one_window_by_hand() -> None:
    x = torch.tensor([[1.0, 2.0], [4.0, 9.0]])[None, None]
    assert haar_bands(x).flatten().tolist() == [8.0, -5.0, -3.0, 2.0]  # LL, LH, HL, HH


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_transform_is_orthonormal_and_can_be_undone(levels: int) -> None:
    matrix = packet_matrix(levels)
    torch.testing.assert_close(matrix @ matrix.t(), torch.eye(4**levels, dtype=matrix.dtype))
    pool, x = make(3, 2**levels, size=(16, 8))
    bands = pool.transform(x)
    torch.testing.assert_close(bands.square().sum(), x.square().sum())
    pixels = torch.einsum("bp,nbcij->ncpij", matrix, bands.unflatten(1, (4**levels, 3)))
    torch.testing.assert_close(F.pixel_shuffle(pixels.flatten(1, 2), 2**levels), x)


@pytest.mark.parametrize("side", [2, 4])
def test_a_constant_map_has_only_the_smooth_band(side: int) -> None:
    pool, x = make(3, side)
    bands = pool.transform(torch.full_like(x, 1.5))
    torch.testing.assert_close(bands[:, :3], torch.full_like(bands[:, :3], 1.5 * side))
    assert bands[:, 3:].abs().max() == 0


@pytest.mark.parametrize("norm", [True, False])
def test_compiles_and_exports_with_two_levels(norm: bool) -> None:
    check_graphs(HaarPool2d(4, 4, norm=norm))


def test_half_precision_does_not_overflow_between_bands() -> None:
    bands = haar_bands(torch.tensor([[30000.0, 30000.0], [30000.0, -30000.0]]).half()[None, None])
    assert bands.flatten().tolist() == [30000.0, 30000.0, 30000.0, -30000.0]


@pytest.mark.parametrize("training", [False, True])
def test_gradients_are_right(training: bool) -> None:
    pool, x = make(2, 2, size=(5, 6))
    pool.train(training)
    assert torch.autograd.gradcheck(pool, (x.requires_grad_(),), fast_mode=True)
    (pool(x) * torch.randn(2, 2, 2, 3, dtype=x.dtype)).sum().backward()
    assert all(p.grad is not None for p in pool.parameters())


def test_one_value_a_channel_in_training_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="a BatchNorm in training must have more than one value"):
        HaarPool2d(4, 2)(torch.randn(1, 4, 3, 3))
    assert HaarPool2d(4, 2).eval()(torch.randn(1, 4, 3, 3)).shape == (1, 4, 1, 1)
    assert HaarPool2d(4, 2, norm=False)(torch.randn(1, 4, 3, 3)).shape == (1, 4, 1, 1)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"kernel_size": 3}, "kernel_size must be a power of two and at least 2.*got 3"),
        ({"kernel_size": 1}, "kernel_size must be a power of two and at least 2.*got 1"),
        ({"kernel_size": (2, 4)}, r"kernel_size must be square.*got \(2, 4\)"),
        ({"kernel_size": 4, "stride": 2}, r"stride must be the kernel_size \(4, 4\).*got \(2, 2\)"),
        ({"padding": 1}, r"padding must be 0.*got \(1, 1\)"),
        ({"ceil_mode": True}, "ceil_mode must be False.*got True"),
    ],
)
def test_bad_arguments_name_the_rule_and_the_value(kwargs: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"in_channels": 4, "kernel_size": 2} | kwargs
    with pytest.raises(ValueError, match=f"HaarPool2d: {said}"):
        HaarPool2d(**given)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (4, 8, 8), (2, 4, 1, 8)])
def test_bad_maps_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="HaarPool2d: "):
        HaarPool2d(4, 2)(torch.randn(*shape))
