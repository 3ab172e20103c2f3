"""Tiles of a map, their sums and their patches, as fast in training on a CPU as their arithmetic allows.

Torch's kernels for pooling, nearest upsampling and the gradient of a convolution whose stride is its kernel run along
the tile, a few pixels at a time, and some leave gradients in another memory layout than the map, which slows everything
before them. The operations here run along whole rows. Each is linear and has another one here as its transpose, which
is its gradient.

Letters in shapes: N batch, C channels, H W map, p q tile (rows, columns), E embedding width, h w = H/p W/q tiles,
L = h w.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

Tile = tuple[int, int]


def trains_on_cpu(x: Tensor) -> bool:
    """Whether ``x`` (N, C, H, W) trains as it is on a CPU: a plain contiguous map, no autocast, no graph being read."""
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return False  # before anything asks for a size, which may be a symbol
    return (
        torch.is_grad_enabled()
        and x.requires_grad
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and x.is_contiguous()
        and x.numel() > 0
        and not torch.is_autocast_enabled("cpu")
    )


def has_hooks(module: nn.Module) -> bool:
    """Whether ``module`` has hooks, which see or change what goes into it or out of it."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


class _Linear(torch.autograd.Function):
    """A linear map of one tensor, with two plain arguments; ``apply``'s gradient is :meth:`transposed`."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.size, ctx.tile = tuple(inputs[0].shape[2:]), inputs[1]

    @classmethod
    def of(cls, x: Tensor, tile: Tile) -> Tensor:
        return cls.apply(x, tile)


class TileSums(_Linear):
    """Sums of the tiles that lie side by side: (N, C, H, W) -> (N, C, h, w)."""

    @staticmethod
    def forward(x: Tensor, tile: Tile) -> Tensor:
        """Add whole rows, then every q-th column."""
        return sum_tiles(x, tile)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Give every pixel its tile's gradient."""
        return SpreadTiles.of(grads[0], ctx.tile), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        """Sum the tangent's tiles."""
        return TileSums.of(tangents[0], ctx.tile)


class SpreadTiles(_Linear):
    """Nearest upsampling, the transpose of :class:`TileSums`: (N, C, h, w) -> (N, C, H, W)."""

    @staticmethod
    def forward(x: Tensor, tile: Tile) -> Tensor:
        """Repeat columns, then whole rows."""
        n, c, h, w = x.shape
        wide = x.repeat_interleave(tile[1], dim=3) if tile[1] > 1 else x
        return wide.unsqueeze(3).expand(n, c, h, tile[0], w * tile[1]).reshape(n, c, h * tile[0], w * tile[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Sum the gradient over every tile."""
        return TileSums.of(grads[0].contiguous(), ctx.tile), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        """Spread the tangent."""
        return SpreadTiles.of(tangents[0], ctx.tile)


class Patches(_Linear):
    """The pixels of every tile as a column: (N, C, H, W) -> (N, C, p q, h, w), a permutation."""

    @staticmethod
    def forward(x: Tensor, tile: Tile) -> Tensor:
        """Gather in two dimensions: ``index_select`` in three is ten times slower."""
        (p, q), (n, c, height, width) = tile, x.shape
        if _copies_are_faster():
            pixels = x.reshape(n, c, height // p, p, width // q, q).permute(0, 1, 3, 5, 2, 4)
            return _copy(pixels).view(n, c, p * q, height // p, width // q)
        index = torch.arange(height * width).view(height // p, p, width // q, q).permute(1, 3, 0, 2).flatten()
        return x.reshape(n * c, -1).index_select(1, index).view(n, c, p * q, height // p, width // q)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Put every gradient back where its pixel came from."""
        return Unpatch.of(grads[0], ctx.tile), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        """Permute the tangent."""
        return Patches.of(tangents[0], ctx.tile)


class Unpatch(_Linear):
    """The inverse and transpose of :class:`Patches`: (N, C, p q, h, w) -> (N, C, H, W)."""

    @staticmethod
    def forward(x: Tensor, tile: Tile) -> Tensor:
        """Gather by the inverse permutation."""
        (p, q), (n, c, _, h, w) = tile, x.shape
        if _copies_are_faster():
            return _copy(x.reshape(n, c, p, q, h, w).permute(0, 1, 4, 2, 5, 3)).view(n, c, h * p, w * q)
        index = torch.arange(p * q * h * w).view(p, q, h, w).permute(2, 0, 3, 1).flatten()
        return x.reshape(n * c, -1).index_select(1, index).view(n, c, h * p, w * q)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Cut the gradient into patches."""
        return Patches.of(grads[0], ctx.tile), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        """Permute the tangent."""
        return Unpatch.of(tangents[0], ctx.tile)


def _copies_are_faster() -> bool:
    """Whether a permuted copy, which all threads share, beats ``index_select``, which uses one."""
    return torch.get_num_threads() > 1


def _copy(x: Tensor) -> Tensor:
    """Copy also what is contiguous: an output must not be a view of the input."""
    return x.clone(memory_format=torch.contiguous_format)


def sum_tiles(x: Tensor, tile: Tile) -> Tensor:
    """Return the sums of the tiles of a contiguous map: (N, C, H, W) -> (N, C, h, w)."""
    (p, q), (n, c, height, width) = tile, x.shape
    rows = x.reshape(n, c, height // p, p, width)
    total = rows[:, :, :, 0]
    for row in range(1, p):
        total = total + rows[:, :, :, row]
    sums = total[..., 0::q]
    for column in range(1, q):
        sums = sums + total[..., column::q]
    return sums.contiguous() if p == q == 1 else sums


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Map the channels of (N, C, L) to (N, E, L), as a 1x1 convolution with ``weight`` (E, C) and ``bias`` (E) does."""
    matrices = weight.expand(x.shape[0], -1, -1)
    return torch.bmm(matrices, x) if bias is None else torch.baddbmm(bias[:, None], matrices, x)


def convolve_tiles(conv: nn.Module, x: Tensor) -> Tensor:
    """Return ``conv(x)``; in training on a CPU a convolution over tiles is taken as a product of matrices.

    Args:
        conv: any module; the faster way is taken for a plain, dense convolution whose stride is its kernel, with whole
            tiles and no hooks.
        x: (N, C, H, W).

    Returns:
        (N, E, h, w).
    """
    if not is_product(conv, x):
        return conv(x)
    (p, q), (height, width) = conv.kernel_size, x.shape[2:]
    columns = x.flatten(2) if p == q == 1 else Patches.of(x, (p, q)).view(x.shape[0], -1, height * width // (p * q))
    return pointwise(columns, conv.weight.flatten(1), conv.bias).view(x.shape[0], -1, height // p, width // q)


def is_product(conv: nn.Module, x: Tensor) -> TypeGuard[nn.Conv2d]:
    """Whether ``conv`` is a plain convolution over whole tiles of ``x`` (N, C, H, W), in training on a CPU."""
    if not (type(conv) is nn.Conv2d and _is_tiling(conv) and trains_on_cpu(x) and not has_hooks(conv)):
        return False
    (p, q), (height, width) = conv.kernel_size, x.shape[2:]
    return height % p == 0 and width % q == 0 and conv.weight.dtype == x.dtype


def _is_tiling(conv: nn.Conv2d) -> bool:
    return (
        conv.kernel_size == conv.stride
        and conv.padding in ((0, 0), "valid")
        and conv.dilation == (1, 1)
        and conv.groups == 1
    )
