"""Self-attention over a token map: embedding width, BatchNorm, learned position, attention with capped keys.

Letters in shapes: N batch, C channels, E embedding width, h w token map, L = h w queries, K keys.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sapool.layers.cpu.tiles import has_hooks, pointwise, trains_on_cpu
from sapool.layers.window import Pair

# Up to this many scores a head, products of matrices train faster on a CPU than the fused kernel, and the scores that
# they keep are small (64 tokens: 16 KiB).
FEW_SCORES = 64 * 64


def embedding_width(in_channels: int, num_heads: int, embed_ratio: float) -> int:
    """Return E = max(1, round(r C / heads)) heads, with Python's banker's rounding (WACV 2023, authors' code)."""
    return max(1, round(embed_ratio * in_channels / num_heads)) * num_heads


class PatchBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm of a patch-resolution map that stands for its ``repeats``-fold nearest upsampling.

    The statistics of both maps are equal except for the unbiased running variance, which carries n / (n - 1); it is
    corrected here so that trained weights do not depend on which form they were trained in.
    """

    def forward(self, x: Tensor, repeats: int = 1) -> Tensor:
        """Normalise ``x`` (N, C, h, w) to the same shape; ``repeats`` is how many pixels each value stands for."""
        if not self.training:
            return super().forward(x)
        count = x.numel() // x.shape[1]
        if count < 2:
            raise ValueError(
                "a BatchNorm in training must have more than one value a channel in the batch, got a map of shape "
                f"{tuple(x.shape)}: use a larger batch, a larger map or a smaller patch_size"
            )
        if repeats == 1 or self.running_mean is None or self.running_var is None or self.momentum is None:
            return super().forward(x)
        # The statistics move in copies: autograd keeps the ones it is given.
        mean, var = self.running_mean.clone(), self.running_var.clone()
        out = F.batch_norm(x, mean, var, self.weight, self.bias, True, self.momentum, self.eps)
        full = count * repeats
        correction = (full / (full - 1)) / (count / (count - 1))
        kept = (1 - self.momentum) * self.running_var
        self.running_mean.copy_(mean)
        self.running_var.copy_(kept + (var - kept) * correction)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return out


class LearnedPosition2d(nn.Module):
    """Learned row and column tables, the column half first; a map longer than the tables interpolates them.

    Args:
        embed_dim: E, channels of the token map; odd widths give the columns the smaller half.
        length: entries of each table, in tokens.
    """

    def __init__(self, embed_dim: int, length: int = 64) -> None:
        super().__init__()
        columns = embed_dim // 2
        self.column = nn.Parameter(torch.rand(length, columns))
        self.row = nn.Parameter(torch.rand(length, embed_dim - columns))

    @staticmethod
    def _entries(table: Tensor, count: int) -> Tensor:
        if count <= table.shape[0]:
            return table[:count]
        return F.interpolate(table.t()[None], size=count, mode="linear", align_corners=True)[0].t()

    def forward(self, height: int, width: int, rows: slice = slice(None)) -> Tensor:
        """Return the position map (1, E, height, width), or only some ``rows`` of it."""
        row = self._entries(self.row, height)[rows].t()[None, :, :, None].expand(1, -1, -1, width)
        column = self._entries(self.column, width).t()[None, :, None, :].expand(1, -1, row.shape[2], -1)
        return torch.cat((column, row), dim=1)


class TokenAttention(nn.Module):
    """One softmax multi-head self-attention over a token map, keys and values averaged down to ``max_keys``.

    Above the cap this is a different function from full attention; at or below it is the same. int8 softmax has a
    step of 1/256, so more than about 256 near-uniform keys can't sum to one.

    Attributes:
        plain_scores: up to this many scores a head are computed as torch's ``nn.MultiheadAttention`` rounds them, which
            is nearer to numbers recorded with it; 0 always takes the fused kernel, which holds no scores at all.
    """

    plain_scores: int = 0

    def __init__(self, embed_dim: int, num_heads: int, max_keys: int | None) -> None:
        super().__init__()
        self.num_heads, self.max_keys = num_heads, max_keys
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key = nn.Linear(embed_dim, embed_dim)
        self.value = nn.Linear(embed_dim, embed_dim)
        self.project = nn.Linear(embed_dim, embed_dim)

    def key_window(self, height: int, width: int) -> Pair:
        """Return the smallest square window that leaves at most ``max_keys`` of a token map."""
        if self.max_keys is None or height * width <= self.max_keys:
            return (1, 1)
        side = 2
        while -(-height // side) * -(-width // side) > self.max_keys:
            side += 1
        # Never wider than the map, so that a long thin map is averaged along its length only.
        return (min(side, height), min(side, width))

    def cap_keys(self, tokens: Tensor, window: Pair | None = None) -> Tensor:
        """Average ``tokens`` (N, E, h, w) over ``window``, by default their :meth:`key_window`."""
        window = self.key_window(tokens.shape[2], tokens.shape[3]) if window is None else window
        if window == (1, 1):
            return tokens
        return F.avg_pool2d(tokens, window, ceil_mode=True, count_include_pad=False)

    def _split_heads(self, tokens: Tensor) -> Tensor:
        batch, count, embed_dim = tokens.shape
        return tokens.view(batch, count, self.num_heads, embed_dim // self.num_heads).transpose(1, 2)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if self.plain_scores == 0 or query.shape[2] * key.shape[2] > self.plain_scores:
            return F.scaled_dot_product_attention(query, key, value)
        scores = (query * query.shape[3] ** -0.5) @ key.transpose(2, 3)
        return torch.softmax(scores, dim=-1) @ value

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend over ``tokens`` (N, E, h, w); returns the same shape."""
        kept = self.cap_keys(tokens)
        if self._is_small(tokens, kept):
            return self._attend_in_training(tokens, kept)
        return self.attend(tokens, self.keys_and_values(kept))

    def _is_small(self, tokens: Tensor, kept: Tensor) -> bool:
        """Whether ``tokens`` and the ``kept`` (N, E, h, w) train on a CPU and are few, and no part has hooks."""
        if self.plain_scores != 0 or not (trains_on_cpu(tokens) and trains_on_cpu(kept)):
            return False
        if tokens.shape[2:].numel() * kept.shape[2:].numel() > FEW_SCORES:
            return False
        parts = (self.query, self.key, self.value, self.project)
        return all(type(part) is nn.Linear and not has_hooks(part) for part in parts)

    def _attend_in_training(self, tokens: Tensor, kept: Tensor) -> Tensor:
        """The same attention with channels before tokens throughout, as the map has them: nothing is transposed."""
        (n, embed_dim), width = tokens.shape[:2], tokens.shape[1] // self.num_heads
        scale, sources = width**-0.5, kept.flatten(2)
        query = pointwise(tokens.flatten(2), self.query.weight * scale, self.query.bias * scale)
        key, value = (pointwise(sources, part.weight, part.bias) for part in (self.key, self.value))
        query, key, value = (part.view(n * self.num_heads, width, -1) for part in (query, key, value))
        shares = torch.softmax(query.transpose(1, 2) @ key, dim=-1)
        attended = (value @ shares.transpose(1, 2)).view(n, embed_dim, -1)
        return pointwise(attended, self.project.weight, self.project.bias).view(tokens.shape)

    def keys_and_values(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values of the ``kept`` tokens (N, E, h, w), each (N, heads, K, E / heads)."""
        kept = as_sequence(kept)
        return self._split_heads(self.key(kept)), self._split_heads(self.value(kept))

    def attend(self, tokens: Tensor, keys_and_values: tuple[Tensor, Tensor]) -> Tensor:
        """Attend with ``tokens`` (N, E, h, w) as queries; a part of a map may be asked alone."""
        queries = as_sequence(tokens)
        attended = self._attend(self._split_heads(self.query(queries)), *keys_and_values)
        return self._project(attended.transpose(1, 2).reshape(queries.shape), tokens)

    def _project(self, attended: Tensor, like: Tensor) -> Tensor:
        """Map (N, L, E) to (N, E, h, w) in the memory layout of ``like``: what follows must not mix the two."""
        plain = type(self.project) is nn.Linear and not has_hooks(self.project)
        if not like.is_contiguous() or not plain:
            return as_map(self.project(attended), like.shape[2], like.shape[3])
        return pointwise(attended.transpose(1, 2), self.project.weight, self.project.bias).view(like.shape)


def as_sequence(tokens: Tensor) -> Tensor:
    """(N, E, h, w) -> (N, L, E). A permutation, then a reshape: free where channels are stored last."""
    return tokens.permute(0, 2, 3, 1).flatten(1, 2)


def as_map(sequence: Tensor, height: int, width: int) -> Tensor:
    """(N, L, E) -> (N, E, height, width), the inverse of :func:`as_sequence`."""
    return sequence.view(sequence.shape[0], height, width, sequence.shape[2]).permute(0, 3, 1, 2)
