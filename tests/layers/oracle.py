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


def literal_weight(pool: SelfAttentivePool2d, x: Tensor, norms: tuple[nn.BatchNorm2d, nn.BatchNorm2d]) -> Tensor:
    """Steps 1 to 5 of the method for a map that the patch divides: (N, C, H, W) weights at full resolution."""
    tokens = F.relu(norms[0](pool.embed(x)))
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
    attended = attended.transpose(1, 2).reshape(count, width, rows, columns)
    full = F.interpolate(attended, size=x.shape[2:], mode="nearest")
    return torch.exp(torch.sigmoid(norms[1](pool.restore(full))))


def literal_pool(pool: SelfAttentivePool2d, x: Tensor, norms: tuple[nn.BatchNorm2d, nn.BatchNorm2d]) -> Tensor:
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


def plain_norms(pool: SelfAttentivePool2d) -> tuple[nn.BatchNorm2d, nn.BatchNorm2d]:
    """Return torch's own BatchNorms with the pool's state, in its mode."""
    norms = []
    for own in (pool.embed_norm, pool.restore_norm):
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
