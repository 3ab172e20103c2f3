"""Self-attentive pooling: Chen, Datta, Kundu, Beerel, WACV 2023 (arXiv 2209.07659).

Letters in shapes: N batch, C channels, H W map, p patch side, E embedding width, h w token map (h = ceil(H / p)),
L = h w queries, K keys.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sapool.layers.weighted import Pair, Window, as_pair, reduce_before_weighting, weighted_average

Gate = Literal["exp_sigmoid", "affine_sigmoid"]


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
                f"SelfAttentivePool2d in training needs more than one token a channel in the batch for its BatchNorm, "
                f"got a token map of shape {tuple(x.shape)}: use a larger batch, a larger map or a smaller patch_size"
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

    def forward(self, height: int, width: int) -> Tensor:
        """Return the position map (1, E, height, width)."""
        column = self._entries(self.column, width)[None, None].expand(1, height, -1, -1)
        row = self._entries(self.row, height)[None, :, None].expand(1, -1, width, -1)
        return torch.cat((column, row), dim=3).permute(0, 3, 1, 2)


class TokenAttention(nn.Module):
    """One softmax multi-head self-attention over a token map, keys and values averaged down to ``max_keys``.

    Above the cap this is a different function from full attention; at or below it is the same. int8 softmax has a
    step of 1/256, so more than about 256 near-uniform keys can't sum to one.
    """

    def __init__(self, embed_dim: int, num_heads: int, max_keys: int | None) -> None:
        super().__init__()
        self.num_heads, self.max_keys = num_heads, max_keys
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key = nn.Linear(embed_dim, embed_dim)
        self.value = nn.Linear(embed_dim, embed_dim)
        self.project = nn.Linear(embed_dim, embed_dim)

    def cap_keys(self, tokens: Tensor) -> Tensor:
        """Average ``tokens`` (N, E, h, w) over the smallest square windows that leave at most ``max_keys`` of them."""
        height, width = tokens.shape[2], tokens.shape[3]
        if self.max_keys is None or height * width <= self.max_keys:
            return tokens
        side = 2
        while math.ceil(height / side) * math.ceil(width / side) > self.max_keys:
            side += 1
        # Never wider than the map, so that a long thin map is averaged along its length only.
        window = (min(side, height), min(side, width))
        return F.avg_pool2d(tokens, window, ceil_mode=True, count_include_pad=False)

    def _split_heads(self, tokens: Tensor) -> Tensor:
        batch, count, embed_dim = tokens.shape
        return tokens.view(batch, count, self.num_heads, embed_dim // self.num_heads).transpose(1, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend over ``tokens`` (N, E, h, w); returns the same shape."""
        queries, keys = as_sequence(tokens), as_sequence(self.cap_keys(tokens))
        attended = F.scaled_dot_product_attention(
            self._split_heads(self.query(queries)),
            self._split_heads(self.key(keys)),
            self._split_heads(self.value(keys)),
        )
        return as_map(self.project(attended.transpose(1, 2).reshape(queries.shape)), tokens.shape[2], tokens.shape[3])


def as_sequence(tokens: Tensor) -> Tensor:
    """(N, E, h, w) -> (N, L, E). A permutation, then a reshape: free where channels are stored last."""
    return tokens.permute(0, 2, 3, 1).flatten(1, 2)


def as_map(sequence: Tensor, height: int, width: int) -> Tensor:
    """(N, L, E) -> (N, E, height, width), the inverse of :func:`as_sequence`."""
    return sequence.view(sequence.shape[0], height, width, sequence.shape[2]).permute(0, 3, 1, 2)


class SelfAttentivePool2d(nn.Module):
    """Pool a map with one weight per channel and patch, computed by self-attention over all patches.

    ``w = exp(sigmoid(BN(Conv1x1(MHA(ReLU(BN(Conv_p(x))) + position)))))``, constant inside a patch, and
    ``y = avg(x w)``, or ``avg(x w) / avg(w)`` when window-normalised (WACV 2023, section 3). Computed at patch
    resolution throughout: see :mod:`sapool.layers.weighted`.

    Args:
        in_channels: C.
        kernel_size: pooling window, in pixels.
        stride: step of the window, in pixels; default ``kernel_size``.
        padding: zeros around the map, in pixels.
        ceil_mode: as in ``nn.AvgPool2d``.
        patch_size: p, in pixels; default: the stride.
        num_heads: attention heads.
        embed_ratio: r in E = max(1, round(r C / heads)) heads.
        window_norm: divide by the window's average weight. Off by default, because with a patch as large as the
            stride a normalised weight cancels.
        max_keys: average keys and values down to at most this many; ``None`` keeps all.
        position: ``"learned"`` or ``None``.
        position_size: entries of the position tables, in tokens.
        restoration: how weights reach the pixels; ``"nearest"``.
        border: ``"pad"`` pads the map up to a multiple of p, so that every pixel is attended to; ``"stretch"`` drops
            the remainder and stretches the weights over the map, as the authors' code does.

    Raises:
        ValueError: a value out of its range, or a configuration that is average pooling whatever its parameters
            (window-normalised, no padding, and no window reaches over the edge of a patch).
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
        *,
        patch_size: int | Pair | None = None,
        num_heads: int = 2,
        embed_ratio: float = 1.0,
        window_norm: bool = False,
        max_keys: int | None = 256,
        position: Literal["learned"] | None = "learned",
        position_size: int = 64,
        restoration: Literal["nearest"] = "nearest",
        border: Literal["pad", "stretch"] = "pad",
    ) -> None:
        super().__init__()
        step = kernel_size if stride is None else stride
        patch = as_pair(step if patch_size is None else patch_size)
        self.window = Window(as_pair(kernel_size), as_pair(step), as_pair(padding), ceil_mode, patch, window_norm)
        self._check(in_channels, num_heads, embed_ratio, max_keys, position_size)
        _check_choice("position", position, ("learned", None))
        _check_choice("restoration", restoration, ("nearest",))
        _check_choice("border", border, ("pad", "stretch"))
        self.in_channels, self.num_heads, self.border = in_channels, num_heads, border
        self.gate: Gate = "exp_sigmoid"
        embed_dim = embedding_width(in_channels, num_heads, embed_ratio)
        self.embed = nn.Conv2d(in_channels, embed_dim, patch, patch)
        self.embed_norm = PatchBatchNorm2d(embed_dim)
        self.position = LearnedPosition2d(embed_dim, position_size) if position == "learned" else None
        self.attention = TokenAttention(embed_dim, num_heads, max_keys)
        self.restore = nn.Conv2d(embed_dim, in_channels, 1)
        self.restore_norm = PatchBatchNorm2d(in_channels)

    @classmethod
    def paper(
        cls, in_channels: int, kernel_size: int | Pair, stride: int | Pair | None = None, **kwargs: Any
    ) -> SelfAttentivePool2d:
        """Build the paper's own form: p = 1, window-normalised, every key kept, tables of 256, authors' border rule.

        Takes the class's arguments; a keyword given here wins over the paper's value.
        """
        own = {"patch_size": 1, "window_norm": True, "max_keys": None, "position_size": 256, "border": "stretch"}
        return cls(in_channels, kernel_size, stride, **(own | kwargs))

    def _check(
        self, in_channels: int, num_heads: int, embed_ratio: float, max_keys: int | None, position_size: int
    ) -> None:
        window = self.window
        at_least_one = {
            "in_channels": in_channels,
            "num_heads": num_heads,
            "kernel_size": min(window.kernel_size),
            "stride": min(window.stride),
            "patch_size": min(window.patch_size),
            "max_keys": 1 if max_keys is None else max_keys,
            "position_size": position_size,
        }
        for name, value in at_least_one.items():
            if value < 1:
                raise ValueError(f"SelfAttentivePool2d: {name} must be at least 1, got {value}")
        if embed_ratio <= 0:
            raise ValueError(f"SelfAttentivePool2d: embed_ratio must be positive, got {embed_ratio}")
        for padding, kernel in zip(window.padding, window.kernel_size, strict=True):
            if not 0 <= padding <= kernel // 2:
                raise ValueError(f"SelfAttentivePool2d: padding must be 0 to kernel_size / 2, got {padding}")
        if window.collapses:
            raise ValueError(
                f"with patch_size {window.patch_size}, stride {window.stride} and window_norm=True "
                "the weight is constant in every window and cancels: this is average pooling with dead parameters. "
                "Use a patch_size smaller than the stride, or window_norm=False"
            )

    def _embed(self, x: Tensor) -> Tensor:
        patch = self.window.patch_size
        short = [-size % p for size, p in zip(x.shape[2:], patch, strict=True)]
        if self.border == "pad" and any(short):
            x = F.pad(x, (0, short[1], 0, short[0]))
        tokens = F.relu(self.embed_norm(self.embed(x)))
        if self.position is not None:
            tokens = tokens + self.position(tokens.shape[2], tokens.shape[3])
        return tokens

    def _gate(self, logit: Tensor) -> Tensor:
        if self.gate == "affine_sigmoid":
            return 1 + (math.e - 1) * torch.sigmoid(logit)
        return torch.exp(torch.sigmoid(logit))

    def _weigh(self, attended: Tensor, size: Pair, stretch: bool) -> Tensor:
        """Restore channels and gate: (N, E, h, w) -> (N, C, h, w), or -> (N, C, *size) when stretched."""
        repeats = self.window.patch_size[0] * self.window.patch_size[1]
        if stretch:
            # Stretched tokens cover unequal numbers of pixels, so the batch statistics need the full map.
            attended, repeats = F.interpolate(attended, size=size, mode="nearest"), 1
        return self._gate(self.restore_norm(self.restore(attended), repeats))

    def forward(self, x: Tensor) -> Tensor:
        """Pool ``x``.

        Args:
            x: (N, C, H, W).

        Returns:
            (N, C, Ho, Wo), as large as ``nn.AvgPool2d(kernel_size, stride, padding, ceil_mode)`` makes it.

        Raises:
            ValueError: a map smaller than the window (or, with ``border="stretch"``, than one patch); in training, a
                batch with a single token.
        """
        self._check_map(x)
        size = (x.shape[2], x.shape[3])
        stretch = self.border == "stretch" and any(n % p for n, p in zip(size, self.window.patch_size, strict=True))
        window = replace(self.window, patch_size=(1, 1)) if stretch else self.window
        # Reduced first: on a micro-controller x can then die before the attention runs.
        reduced = reduce_before_weighting(x, window)
        weight = self._weigh(self.attention(self._embed(x)), size, stretch)
        return weighted_average(reduced, weight, window)

    def _check_map(self, x: Tensor) -> None:
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"SelfAttentivePool2d: x must be (N, {self.in_channels}, H, W), got {tuple(x.shape)}")
        least = self.window.patch_size if self.border == "stretch" else (1, 1)
        for size, kernel, pad, patch in zip(
            x.shape[2:], self.window.kernel_size, self.window.padding, least, strict=True
        ):
            if size + 2 * pad < kernel or size < patch:
                raise ValueError(
                    f"SelfAttentivePool2d: the map must be at least as large as the window {self.window.kernel_size} "
                    f"(and the patch {least}), got {tuple(x.shape[2:])}"
                )

    def extra_repr(self) -> str:
        """Return the window, the patch and the normalisation, for ``print(module)``."""
        w = self.window
        return (
            f"{self.in_channels}, kernel_size={w.kernel_size}, stride={w.stride}, padding={w.padding}, "
            f"ceil_mode={w.ceil_mode}, patch_size={w.patch_size}, window_norm={w.normalize}, "
            f"max_keys={self.attention.max_keys}, border={self.border!r}"
        )


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise ValueError(f"SelfAttentivePool2d: {name} must be one of {choices}, got {value!r}")
