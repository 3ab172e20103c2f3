"""Large maps in inference on a CPU: one image at a time, band after band of its rows.

Attention rows are independent once keys and values are known, and everything else is local, so a band of rows can go
from x to the output before the next begins. The same function; but what a band needs stays in the cache, where whole
maps of this size go to memory and back a dozen times (``benchmarks/pooling_speed.py``: the time a pixel).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from sapool.layers.attention import TokenAttention
from sapool.layers.cpu.tiles import has_hooks
from sapool.layers.weighted import WeightedWindow
from sapool.layers.window import Pair

# Bytes of one image's tokens from which on bands are faster, and bytes of a band's.
LARGE_MAP = 8 << 20
BAND = 2 << 20

# (a band's pixels, token rows of the whole map, the band's token rows) -> its tokens (N, E, h, w).
BandTokens = Callable[[Tensor, int, slice], Tensor]
# (a band's pixels, its attended tokens) -> (N, C, Ho, Wo).
PoolBand = Callable[[Tensor, Tensor], Tensor]


def worth_bands(pool: nn.Module, x: Tensor, patch_size: Pair, embed_dim: int) -> bool:
    """Whether ``x`` (N, C, H, W) is so large that bands are faster, and every part of ``pool`` sees in them the same.

    Args:
        pool: a pool each of whose steps is local or works on tokens.
        x: its map.
        patch_size: of a token, in pixels.
        embed_dim: E, channels of a token.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return False
    if x.device.type != "cpu" or not x.is_contiguous() or not _is_steady(pool):
        return False
    return x.shape[2] * x.shape[3] / math.prod(patch_size) * embed_dim * x.element_size() > LARGE_MAP


def _is_steady(pool: nn.Module) -> bool:
    """Whether a band sees what the whole map would: no part trains, normalises by the map or has hooks."""
    parts = list(pool.modules())
    norms = [part for part in parts if isinstance(part, nn.BatchNorm2d)]
    return all(norm.running_mean is not None for norm in norms) and not any(
        part.training or has_hooks(part) for part in parts
    )


def pool_in_bands(
    x: Tensor,
    attention: TokenAttention,
    patch_size: Pair,
    window: WeightedWindow,
    tokens_of: BandTokens,
    pool_band: PoolBand,
) -> Tensor:
    """Pool ``x`` (N, C, H, W) to (N, C, Ho, Wo).

    Args:
        x: the map.
        attention: of the tokens; its rows are independent once keys and values are known.
        patch_size: of a token, in pixels.
        window: the pooling window.
        tokens_of: makes a band's tokens.
        pool_band: pools a band.
    """

    def pool_image(image: Tensor) -> Tensor:
        patch = patch_size[0]
        height, width = (-(-side // p) for side, p in zip(image.shape[2:], patch_size, strict=True))
        key_window = attention.key_window(height, width)
        row_bytes = width * attention.query.in_features * image.element_size()
        bands = list(pairwise(_cuts(image.shape[2], patch, window, key_window[0], row_bytes)))

        def pixels(first: int, last: int) -> Tensor:  # copied when needed, so that they stay in the cache
            return image[:, :, first * patch : last * patch].contiguous()

        tokens = [tokens_of(pixels(*band), height, slice(*band)) for band in bands]
        kept = torch.cat([attention.cap_keys(part, key_window) for part in tokens], dim=2)
        keys_and_values = attention.keys_and_values(kept)
        pooled = [
            pool_band(pixels(*band), attention.attend(part, keys_and_values))
            for band, part in zip(bands, tokens, strict=True)
        ]
        return torch.cat(pooled, dim=2)

    return torch.cat([pool_image(image) for image in torch.split(x, 1)])


def _cuts(rows: int, patch: int, window: WeightedWindow, key_rows: int, row_bytes: int) -> list[int]:
    """Return where bands begin and end, in token rows: between key windows and between pooling windows."""
    height = -(-rows // patch)
    unit = math.lcm(key_rows, math.lcm(window.stride[0], patch) // patch)
    step = unit * max(1, BAND // (unit * row_bytes))
    # What holds no window any more belongs to the band before.
    starts = [row for row in range(0, height, step) if rows - row * patch >= window.kernel_size[0]]
    return [*starts, height]
