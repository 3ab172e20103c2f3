"""A window pooling in plain loops, and checks at windows that reach over the edge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sapool.layers.window import Window, WindowPool2d

# kernel, stride, padding, ceil_mode, map
CASES: list[tuple[Any, Any, Any, bool, tuple[int, int]]] = [
    (2, 2, 0, False, (8, 6)),
    (2, 2, 0, True, (7, 5)),
    (3, 2, 1, False, (7, 8)),
    (3, 2, 1, True, (8, 9)),
    (3, 2, 0, True, (6, 8)),
    (3, 1, 1, False, (5, 4)),
    ((3, 2), (2, 3), (1, 0), True, (9, 6)),
    ((2, 4), (3, 1), (1, 2), False, (6, 7)),
    (5, 3, 2, True, (10, 7)),
    (2, 3, 1, True, (7, 8)),
    (3, 3, 1, True, (2, 1)),
]
"""The last but two: windows that reach over the padding; the last two: gaps, and a map smaller than the window."""


@dataclass
class Region:
    """One window: its pixels on the map, those with the counted zeros of the padding, and the window laid out."""

    pixels: Tensor
    padded: Tensor
    whole: Tensor


def pool_loops(x: Tensor, window: Window, reduce: Callable[[Region], Tensor]) -> Tensor:
    """Apply ``reduce``, Region -> (N, C), to every window of ``x``, found pixel by pixel."""
    (kh, kw), (sh, sw), (ph, pw) = window.kernel_size, window.stride, window.padding
    height, width = x.shape[2:]
    rows, columns = nn.MaxPool2d(window.kernel_size, window.stride, window.padding, ceil_mode=window.ceil_mode)(
        x[:1, :1]
    ).shape[2:]
    out = []
    for i in range(rows):
        for j in range(columns):
            pixels, zeros, whole = [], 0, torch.zeros(*x.shape[:2], kh, kw, dtype=x.dtype)
            for di in range(kh):
                for dj in range(kw):
                    row, column = i * sh - ph + di, j * sw - pw + dj
                    if 0 <= row < height and 0 <= column < width:
                        pixels.append(x[:, :, row, column])
                        whole[:, :, di, dj] = x[:, :, row, column]
                    elif row < height + ph and column < width + pw:
                        zeros += 1
            padded = pixels + [torch.zeros_like(pixels[0])] * zeros
            out.append(reduce(Region(torch.stack(pixels, 2), torch.stack(padded, 2), whole)))
    return torch.stack(out, 2).view(*x.shape[:2], rows, columns)


def maximum_size(pool: WindowPool2d, x: Tensor) -> torch.Size:
    """Return the shape that ``nn.MaxPool2d`` makes of ``x``."""
    w = pool.window
    return nn.MaxPool2d(w.kernel_size, w.stride, w.padding, ceil_mode=w.ceil_mode)(x).shape


def check_half(pool: WindowPool2d, scale: float, size: tuple[int, int] = (7, 8)) -> None:
    """Half types stay finite at values of about ``scale`` and near float32, in both directions."""
    torch.manual_seed(0)
    pool.eval()
    for dtype, tolerance in ((torch.bfloat16, 2e-2), (torch.float16, 4e-3)):
        x = (torch.randn(2, pool.in_channels, *size) * scale).to(dtype)
        expected = pool.float()(x.float())
        mine = x.clone().requires_grad_()
        y = pool.to(dtype)(mine)
        assert y.dtype == dtype
        y.float().sum().backward()
        assert mine.grad is not None
        assert torch.isfinite(mine.grad).all()
        torch.testing.assert_close(y.float(), expected, atol=tolerance * scale, rtol=tolerance)
    pool.float()


def check_gradient(pool: WindowPool2d, size: tuple[int, int] = (6, 5), batch: int = 2) -> None:
    """float64 gradcheck, of the input and of every parameter."""
    torch.manual_seed(0)
    pool.double()
    x = torch.randn(batch, pool.in_channels, *size, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in pool.named_parameters()]

    def run(given: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(pool, dict(zip(names, weights, strict=True)), (given,))

    weights = [w.detach().clone().requires_grad_() for w in pool.parameters()]
    assert torch.autograd.gradcheck(run, (x, *weights))
    pool.float()


def check_graphs(pool: WindowPool2d, size: tuple[int, int] = (7, 8)) -> None:
    """torch.compile in one graph, and torch.export with a batch of any size."""
    torch.manual_seed(0)
    pool.eval()
    x, other = torch.randn(2, pool.in_channels, *size), torch.randn(5, pool.in_channels, *size)
    torch._dynamo.reset()
    compiled = torch.compile(pool, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), pool(x), atol=1e-6, rtol=1e-5)
    exported = torch.export.export(pool, (x,), dynamic_shapes={"x": {0: torch.export.Dim("batch")}}).module()
    torch.testing.assert_close(exported(other), pool(other), atol=1e-6, rtol=1e-5)
