"""The paper's pool, literally: every step at full resolution, attention by torch's own module."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sapool.layers import SelfAttentivePool2d


def torch_attention(pool: SelfAttentivePool2d) -> nn.MultiheadAttention:
    """Return torch's attention with the pool's weights."""
    own = pool.attention
    whole = nn.MultiheadAttention(own.query.out_features, own.num_heads, batch_first=True, dtype=own.query.weight.dtype)
    whole.in_proj_weight = nn.Parameter(torch.cat([own.query.weight, own.key.weight, own.value.weight]))
    assert own.query.bias is not None
    whole.in_proj_bias = nn.Parameter(torch.cat([own.query.bias, own.key.bias, own.value.bias]))
    whole.out_proj.load_state_dict(own.project.state_dict())
    return whole


Norms = tuple[nn.Module, nn.Module]


def literal_weight(pool: SelfAttentivePool2d, x: Tensor, norms: Norms) -> Tensor:
    """Steps 1 to 5 of the method for a map that the patch divides: (N, C, H, W) weights at full resolution."""
    logit = literal_logit(pool, x, norms)
    if pool.gate == "exp":
        return torch.exp(logit)
    return torch.sigmoid(logit) if pool.gate == "sigmoid" else torch.exp(pool.gain * torch.sigmoid(logit))


def literal_logit(pool: SelfAttentivePool2d, x: Tensor, norms: Norms) -> Tensor:
    """Steps 1 to 4: (N, C, H, W) logits at full resolution."""
    attended = literal_attention(pool, x, norms[0])
    if pool.restoration == "nearest":
        return norms[1](pool.restore(F.interpolate(attended, size=x.shape[2:], mode="nearest")))
    logit = norms[1](pool.restore(attended))
    if pool.restoration == "bilinear":
        return bilinear_loops(logit, pool.patch_size)
    return shuffle_loops(logit, pool.patch_size)


def literal_attention(pool: SelfAttentivePool2d, x: Tensor, norm: nn.Module) -> Tensor:
    """Steps 1 to 3: the attended token map, (N, E, h, w)."""
    tokens = F.relu(norm(pool.embed(x)))
    count, width, rows, columns = tokens.shape
    if pool.position is not None:
        position = torch.zeros(1, width, rows, columns, dtype=x.dtype)
        half = width // 2
        for row in range(rows):
            for column in range(columns):
                position[0, :half, row, column] = pool.position.column[column].detach()
                position[0, half:, row, column] = pool.position.row[row].detach()
        tokens = tokens + position
    sequence = tokens.reshape(count, width, rows * columns).transpose(1, 2)
    attended, _ = torch_attention(pool)(sequence, sequence, sequence, need_weights=False)
    return attended.transpose(1, 2).reshape(count, width, rows, columns)


def bilinear_loops(low: Tensor, patch: tuple[int, int]) -> Tensor:
    """Interpolate between the centres of the patches; beyond the outer ones their value holds."""
    out = torch.zeros(*low.shape[:2], low.shape[2] * patch[0], low.shape[3] * patch[1], dtype=low.dtype)
    for row in range(out.shape[2]):
        for column in range(out.shape[3]):
            parts = []
            for at, side, count in ((row, patch[0], low.shape[2]), (column, patch[1], low.shape[3])):
                place = min(max((at + 0.5) / side - 0.5, 0.0), count - 1.0)
                first = int(place)
                parts.append((first, min(first + 1, count - 1), place - first))
            (top, bottom, down), (left, right, across) = parts
            upper = low[:, :, top, left] * (1 - across) + low[:, :, top, right] * across
            lower = low[:, :, bottom, left] * (1 - across) + low[:, :, bottom, right] * across
            out[:, :, row, column] = upper * (1 - down) + lower * down
    return out


def shuffle_loops(low: Tensor, patch: tuple[int, int]) -> Tensor:
    """Give pixel (a, b) of a patch the channels c p q + a q + b."""
    (p, q), (count, deep, rows, columns) = patch, low.shape
    out = torch.zeros(count, deep // (p * q), rows * p, columns * q, dtype=low.dtype)
    for a in range(p):
        for b in range(q):
            out[:, :, a::p, b::q] = low[:, a * q + b :: p * q]
    return out


def literal_pool(pool: SelfAttentivePool2d, x: Tensor, norms: Norms) -> Tensor:
    """The whole method, window by window in plain loops."""
    weight = literal_weight(pool, x, norms)
    return weighted_loops(x, weight, pool.window.kernel_size, pool.window.stride, pool.window.normalize)


def weighted_loops(
    x: Tensor, weight: Tensor, kernel: tuple[int, int], stride: tuple[int, int], normalize: bool
) -> Tensor:
    """Return mean(x w), divided by mean(w) if normalised, of every whole window."""
    rows = (x.shape[2] - kernel[0]) // stride[0] + 1
    columns = (x.shape[3] - kernel[1]) // stride[1] + 1
    out = torch.zeros(*x.shape[:2], rows, columns, dtype=x.dtype)
    for i in range(rows):
        for j in range(columns):
            window = (
                ...,
                slice(i * stride[0], i * stride[0] + kernel[0]),
                slice(j * stride[1], j * stride[1] + kernel[1]),
            )
            pooled = (x[window] * weight[window]).mean((2, 3))
            out[:, :, i, j] = pooled / weight[window].mean((2, 3)) if normalize else pooled
    return out


def plain_norms(pool: SelfAttentivePool2d) -> Norms:
    """Return torch's own BatchNorms with the pool's state, in its mode; nothing where the pool has none."""
    norms: list[nn.Module] = []
    for own in (pool.embed_norm, pool.restore_norm):
        if own is None:
            norms.append(nn.Identity())
            continue
        norm = nn.BatchNorm2d(own.num_features, dtype=own.weight.dtype)
        norm.load_state_dict(own.state_dict())
        norms.append(norm.train(own.training))
    return norms[0], norms[1]


def randomize(pool: nn.Module, seed: int = 0) -> None:
    """Give every parameter and statistic of ``pool`` a value away from its initial one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in pool.state_dict().items():
            if value.is_floating_point():
                noise = torch.rand(value.shape, generator=generator, dtype=value.dtype)
                value.copy_(noise + 0.5 if "running_var" in name else noise - 0.5)
