from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sapool.layers import DeformableSelfAttentivePool2d, MixedSelfAttentivePool2d, SelfAttentivePool2d
from sapool.layers.deformable import sample_at_offsets
from tests.layers.oracle import plain_norms, randomize, torch_attention, weighted_loops


def bilinear(x: Tensor, row: float, column: float, beyond: str) -> Tensor:
    """Sample x (C, H, W) at a point; beyond the map there are zeros, or the border pixel."""
    height, width = x.shape[1:]
    if beyond == "border":
        row, column = min(max(row, 0.0), height - 1.0), min(max(column, 0.0), width - 1.0)
    total = torch.zeros(x.shape[0], dtype=x.dtype)
    top, left = int(torch.tensor(row).floor()), int(torch.tensor(column).floor())
    for i, j in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        share = max(0.0, 1 - abs(row - i)) * max(0.0, 1 - abs(column - j))
        if share > 0 and 0 <= i < height and 0 <= j < width:
            total = total + share * x[:, i, j]
    return total


def literal_weight(pool: DeformableSelfAttentivePool2d, x: Tensor) -> Tensor:
    """The deformed weight of every pixel from the formulas, sample by sample, for a map that the patch divides."""
    (p, q), (count, _, height, width) = pool.patch_size, x.shape
    offsets, masks = pool.offset(x), torch.sigmoid(pool.modulation(x))
    conv: Any = pool.embed
    embedded = torch.zeros(count, conv.out_channels, height // p, width // q, dtype=x.dtype)
    moved = torch.zeros(count, 2, height, width, dtype=x.dtype)
    for n in range(count):
        for i in range(height // p):
            for j in range(width // q):
                total = conv.bias.clone()
                for a in range(p):
                    for b in range(q):
                        sample = a * q + b
                        down, across = (float(offsets[n, 2 * sample + k, i, j].detach()) for k in (0, 1))
                        moved[n, :, i * p + a, j * q + b] = torch.tensor([down, across], dtype=x.dtype)
                        value = bilinear(x[n], i * p + a + down, j * q + b + across, "zeros") * masks[n, sample, i, j]
                        total = total + conv.weight[:, :, a, b] @ value
                embedded[n, :, i, j] = total
    norms = plain_norms(pool)
    tokens = F.relu(norms[0](embedded))
    if pool.position is not None:
        tokens = tokens + pool.position(*tokens.shape[2:])
    sequence = tokens.flatten(2).transpose(1, 2)
    attended = torch_attention(pool)(sequence, sequence, sequence)[0].transpose(1, 2).reshape(tokens.shape)
    full = F.interpolate(attended, size=x.shape[2:], mode="nearest")
    weight = torch.exp(torch.sigmoid(norms[1](pool.restore(full))))
    out = torch.zeros_like(weight)
    for n in range(count):
        for i in range(height):
            for j in range(width):
                down, across = (float(v) for v in moved[n, :, i, j])
                out[n, :, i, j] = bilinear(weight[n], i - down, j - across, "border")
    return out


def make(kind: type[DeformableSelfAttentivePool2d], *args: Any, **kwargs: Any) -> Any:
    pool = kind(4, *args, **kwargs).double()
    randomize(pool)
    return pool.eval()


@pytest.mark.parametrize("kwargs", [{"patch_size": 1}, {"patch_size": 2}, {"patch_size": (1, 2)}, {"patch_size": 4}])
@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("kind", [DeformableSelfAttentivePool2d, MixedSelfAttentivePool2d])
def test_equals_the_formula(kind: Any, kwargs: dict[str, Any], normalised: bool) -> None:
    pool = make(kind, 2, window_norm=normalised, **kwargs)
    x = torch.randn(2, 4, 8, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight = literal_weight(pool, x)
    if kind is MixedSelfAttentivePool2d:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that an even kernel costs a padded copy
            local = F.conv2d(x, pool.local.weight, pool.local.bias, padding="same")
        norm: Any = pool.local_norm
        local = F.batch_norm(local, norm.running_mean, norm.running_var, norm.weight, norm.bias)
        weight = weight * torch.exp(torch.sigmoid(local))
    expected = weighted_loops(x, weight, (2, 2), (2, 2), normalised)
    torch.testing.assert_close(pool(x), expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("patch", [1, 2, 3, 4, 8])
def test_zero_offsets_are_the_identity(patch: int) -> None:
    """The layer starts as plain self-attentive pooling, but for an embedding halved by sigmoid(0)."""
    deformed = make(DeformableSelfAttentivePool2d, 2, patch_size=patch)
    for conv in (deformed.offset, deformed.modulation):
        torch.nn.init.zeros_(conv.weight)
        torch.nn.init.zeros_(conv.bias)
    plain = SelfAttentivePool2d(4, 2, patch_size=patch).double().eval()
    plain.load_state_dict({k: v for k, v in deformed.state_dict().items() if k in plain.state_dict()})
    with torch.no_grad():
        plain.embed.weight.mul_(0.5)  # type: ignore[operator]
    x = torch.randn(2, 4, 13, 10, dtype=torch.float64)
    torch.testing.assert_close(deformed(x), plain(x), atol=1e-9, rtol=1e-9)


def test_sampling_at_whole_offsets_shifts_the_map() -> None:
    x = torch.randn(1, 2, 4, 5)
    offsets = torch.zeros(1, 2, 4, 5)
    assert torch.allclose(sample_at_offsets(x, offsets), x, atol=1e-6)
    offsets[:, 0] = 1.0
    torch.testing.assert_close(sample_at_offsets(x, offsets)[:, :, :-1], x[:, :, 1:], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(sample_at_offsets(x, offsets)[:, :, -1], x[:, :, -1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "kwargs", [{"restoration": "bilinear"}, {"border": "stretch"}, {"embedding": "separable"}, {"gate": "exp"}]
)
def test_what_deformation_leaves_no_room_for_is_refused(kwargs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"DeformableSelfAttentivePool2d: {next(iter(kwargs))} must be one of"):
        DeformableSelfAttentivePool2d(4, 2, **kwargs)


@pytest.mark.parametrize("kind", [DeformableSelfAttentivePool2d, MixedSelfAttentivePool2d])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("trained", [False, True])
def test_a_pixel_that_is_no_number_makes_its_image_none(
    kind: type[DeformableSelfAttentivePool2d], value: float, trained: bool
) -> None:
    torch.manual_seed(0)
    pool = kind(4, 2).eval()
    if trained:  # else every offset is zero times something
        randomize(pool)
    x = torch.rand(2, 4, 12, 12)
    sound = pool(x)
    broken = x.clone()
    broken[0, 1, 3, 5] = value
    broken.requires_grad_()
    y = pool(broken)
    assert torch.isnan(y[0]).all()
    torch.testing.assert_close(y[1], sound[1])
    y.sum().backward()
    assert broken.grad is not None
    assert torch.isfinite(broken.grad[1]).all()
    pool.train()(broken).sum().backward()  # the norms' statistics are of both images


def test_offsets_far_beyond_the_map_are_its_border() -> None:
    values = torch.rand(1, 2, 5, 7)
    for far in (1e3, 1e30, float("inf")):
        offsets = torch.full((1, 2, 5, 7), far)
        torch.testing.assert_close(sample_at_offsets(values, offsets), values[:, :, -1:, -1:].expand_as(values))
        torch.testing.assert_close(sample_at_offsets(values, -offsets), values[:, :, :1, :1].expand_as(values))
