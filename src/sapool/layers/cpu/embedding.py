"""A map's embedding and its averages from one cutting into patches, for training on a CPU.

Both are sums over the pixels of a patch. Taken apart, each reads the whole map, and their two gradients are as large as
the map before they are added; here the map is cut up once, and the gradients meet while they are still in patches.

Letters in shapes: N batch, C channels, H W map, p q patch, s t tile that is averaged (divides the patch), E embedding
width, h w = H/p W/q patches, L = h w.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from sapool.layers.cpu.tiles import Patches, Tile, TileSums, Unpatch, is_product, pointwise


def embed_and_average(conv: nn.Module, x: Tensor, tile: Tile) -> tuple[Tensor, Tensor] | None:
    """Return what ``conv`` makes of ``x`` and the averages of its tiles, or None where that is no faster in one.

    Args:
        conv: any module; a plain convolution over whole patches qualifies.
        x: (N, C, H, W).
        tile: what is averaged, in pixels; it has to divide the patch.

    Returns:
        (N, E, h, w) and (N, C, H/s, W/t).
    """
    if tile == (1, 1) or not is_product(conv, x) or torch._C._are_functorch_transforms_active():
        return None
    embedded, averaged = _EmbedAndAverage.apply(x, conv.weight, conv.bias, conv.kernel_size, tile)
    return embedded, averaged


class _EmbedAndAverage(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, patch: Tile, tile: Tile
    ) -> tuple[Tensor, Tensor]:
        """Cut ``x`` up, multiply by the weight (E, C, p, q), and sum."""
        (p, q), (n, c, height, width) = patch, x.shape
        patches = Patches.forward(x, patch)
        columns = patches.view(n, c * p * q, -1)
        ctx.save_for_backward(x, weight, bias, columns)
        ctx.save_for_forward(x, weight)
        ctx.patch, ctx.tile = patch, tile
        embedded = pointwise(columns, weight.flatten(1), bias).view(n, -1, height // p, width // q)
        return embedded, _average(patches, patch, tile)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Add both gradients of every patch and put its pixels back."""
        x, weight, bias, columns = ctx.saved_tensors
        if torch.is_grad_enabled():  # double backward: step by step, as torch knows each
            wanted = [t for t, needed in zip((x, weight, bias), ctx.needs_input_grad, strict=False) if needed]
            outs = _step_by_step(x, weight, bias, ctx.patch, ctx.tile)
            found = iter(torch.autograd.grad(outs, wanted, grads, create_graph=True))
            return *(next(found) if needed else None for needed in ctx.needs_input_grad[:3]), None, None
        (p, q), (s, t), (n, c, height, width) = ctx.patch, ctx.tile, x.shape
        embedded = grads[0].reshape(n, weight.shape[0], -1)
        moved = torch.bmm(weight.flatten(1).t().expand(n, -1, -1), embedded)
        averaged = Patches.forward(grads[1].contiguous(), (p // s, q // t)) / (s * t)
        moved.view(n, c, p // s, s, q // t, t, -1).add_(averaged.view(n, c, p // s, 1, q // t, 1, -1))
        back = Unpatch.forward(moved.view(n, c, p * q, height // p, width // q), ctx.patch)
        of_weight = torch.bmm(embedded, columns.transpose(1, 2)).sum(0).view(weight.shape)
        return back, of_weight, None if bias is None else embedded.sum((0, 2)), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[Tensor, Tensor]:
        """Embed the tangent, and ``x`` by the weight's tangent; average the tangent."""
        x, weight = ctx.saved_tensors
        dx, dweight, dbias = tangents[:3]
        still = torch.zeros_like(x) if dx is None else dx
        embedded, averaged = _step_by_step(still, weight, dbias, ctx.patch, ctx.tile)
        if dweight is not None:
            embedded = embedded + _step_by_step(x, dweight, None, ctx.patch, ctx.tile)[0]
        return embedded, averaged


def _average(patches: Tensor, patch: Tile, tile: Tile) -> Tensor:
    """Average tiles, (N, C, p q, h, w) -> (N, C, H/s, W/t), view by view: a sum over two axes is ten times slower."""
    (p, q), (s, t), (n, c, _, h, w) = patch, tile, patches.shape
    parts = patches.view(n, c, p // s, s, q // t, t, h * w)
    first, second, *others = (parts[:, :, :, i, :, j] for i, j in product(range(s), range(t)))
    total = first + second
    for part in others:
        total += part
    return Unpatch.forward((total / (s * t)).view(n, c, -1, h, w), (p // s, q // t))


def _step_by_step(x: Tensor, weight: Tensor, bias: Tensor | None, patch: Tile, tile: Tile) -> tuple[Tensor, Tensor]:
    (p, q), (n, c, height, width) = patch, x.shape
    columns = Patches.of(x, patch).view(n, c * p * q, -1)
    embedded = pointwise(columns, weight.flatten(1), bias).view(n, -1, height // p, width // q)
    return embedded, TileSums.of(x, tile) / (tile[0] * tile[1])
