"""The window that every pooling shares: ``nn.MaxPool2d``'s arguments, its checks and its output size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from operator import index
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._compile import _disable_dynamo

from sapool.layers.cpu.tiles import TileSums, sum_tiles, trains_on_cpu

Pair = tuple[int, int]


def as_pair(value: int | tuple[int, ...] | list[int], name: str = "size") -> Pair:
    """Return ``(value, value)`` for an int, the pair itself otherwise.

    Raises:
        ValueError: anything else; the message begins with ``name``.
    """
    try:
        first, second = value if isinstance(value, tuple | list) else (value, value)
        return index(first), index(second)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be an int or a pair of ints, got {value!r}") from None


def at_least_float(x: Tensor) -> Tensor:
    """Return ``x`` in float32 if it is in a half type, where sums and exponentials overflow."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


Pool = TypeVar("Pool", bound=nn.Module)


def eager_in_training(forward: Callable[[Pool, Tensor], Tensor]) -> Callable[[Pool, Tensor], Tensor]:
    """Let ``torch.compile`` leave a layer's forward as it is while it trains.

    Its default backend can't keep views for the backward pass where the map's size is a symbol (torch 2.14), as it is
    from the second size on; what is around the layer is compiled.
    """
    # As torch.compiler.disable, which would load the whole compiler now, and not when something is compiled.
    eagerly: Callable[[Pool, Tensor], Tensor] = _disable_dynamo(forward)

    @wraps(forward)
    def run(pool: Pool, x: Tensor) -> Tensor:
        if torch.compiler.is_dynamo_compiling() and pool.training and torch.is_grad_enabled():
            return eagerly(pool, x)
        return forward(pool, x)

    return run


def rectify(x: Tensor) -> Tensor:
    """ReLU as a layer's last step: its gradient needs ``x``, not the result, which an in-place layer may overwrite."""
    trains = torch.is_grad_enabled() and x.requires_grad and not torch.compiler.is_compiling()
    return F.threshold(x, 0, 0) if trains else F.relu(x)


@dataclass(frozen=True)
class Window:
    """A pooling window; pairs are (rows, columns) in pixels."""

    kernel_size: Pair
    stride: Pair
    padding: Pair = (0, 0)
    ceil_mode: bool = False

    @property
    def area(self) -> int:
        """Pixels of one window."""
        return self.kernel_size[0] * self.kernel_size[1]

    @property
    def is_tiling(self) -> bool:
        """Whether the windows lie side by side: kernel = stride, no padding, and what is left over is dropped."""
        return self.kernel_size == self.stride and self.padding == (0, 0) and not self.ceil_mode

    def output_size(self, height: int, width: int) -> Pair:
        """Return the output's (rows, columns) for a map of ``height`` x ``width``, as ``nn.MaxPool2d`` has it."""
        sides = zip((height, width), self.kernel_size, self.stride, self.padding, strict=True)
        rows, columns = (self._count(*side) for side in sides)
        return rows, columns

    def _count(self, size: int, kernel: int, stride: int, padding: int) -> int:
        free = size + 2 * padding - kernel
        if not self.ceil_mode:
            return free // stride + 1
        count = -(-free // stride) + 1
        # A window must begin inside the map or in the padding before it.
        return count - 1 if (count - 1) * stride >= size + padding else count

    def average(self, x: Tensor, count_include_pad: bool = True) -> Tensor:
        """Average every window of ``x`` (N, C, H, W) by ``nn.AvgPool2d``'s rule: (N, C, Ho, Wo)."""
        if self.kernel_size == (1, 1) and self.stride == (1, 1) and self.padding == (0, 0):
            return x
        if self.is_tiling and _sums_are_faster(x, self.kernel_size):
            return _average_tiles(x, self.kernel_size)
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, count_include_pad)

    def maximum(self, x: Tensor) -> Tensor:
        """Return the largest value of every window of ``x`` (N, C, H, W): (N, C, Ho, Wo)."""
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding, ceil_mode=self.ceil_mode)

    def pad(self, x: Tensor, fill: float = 0.0) -> Tensor:
        """Surround ``x`` (N, C, H, W) with ``fill`` so that every window is whole; crops what no window reaches."""
        need = self.output_size(x.shape[2], x.shape[3])
        rows, columns = (
            (count - 1) * stride + kernel - size - padding
            for count, stride, kernel, size, padding in zip(
                need, self.stride, self.kernel_size, x.shape[2:], self.padding, strict=True
            )
        )
        top, left = self.padding
        if (left, columns, top, rows) == (0, 0, 0, 0):
            return x
        return F.pad(x, (left, columns, top, rows), value=fill)

    def samples(self, x: Tensor, fill: float = 0.0) -> Iterator[Tensor]:
        """Yield the pixels of all windows, position after position (row-major), as views (N, C, Ho, Wo).

        ``x`` is (N, C, H, W); ``fill`` stands where a window reaches over the edge of the map.
        """
        x = self.pad(x, fill)
        (rows, columns), (s, t) = self.kernel_size, self.stride
        bottom, right = x.shape[2] - rows, x.shape[3] - columns
        for i in range(rows):
            for j in range(columns):
                yield x[:, :, i : i + bottom + 1 : s, j : j + right + 1 : t]

    def stack(self, x: Tensor, fill: float = 0.0) -> Tensor:
        """Return :meth:`samples` as one tensor, (N, C, kh kw, Ho, Wo)."""
        return torch.stack(list(self.samples(x, fill)), dim=2)


def as_window(
    label: str, kernel_size: int | Pair, stride: int | Pair | None, padding: int | Pair, ceil_mode: bool
) -> Window:
    """Return a checked window; messages begin with ``label``.

    Raises:
        ValueError: a kernel or stride under 1, or padding beyond half the kernel.
    """
    kernel = as_pair(kernel_size, f"{label}: kernel_size")
    step = kernel if stride is None else as_pair(stride, f"{label}: stride")
    window = Window(kernel, step, as_pair(padding, f"{label}: padding"), ceil_mode)
    for name, sides in (("kernel_size", kernel), ("stride", step)):
        if min(sides) < 1:
            raise ValueError(f"{label}: {name} must be at least 1, got {min(sides)}")
    for pad, side in zip(window.padding, kernel, strict=True):
        if not 0 <= pad <= side // 2:
            raise ValueError(f"{label}: padding must be 0 to kernel_size / 2, got {pad}")
    return window


def _sums_are_faster(x: Tensor, kernel_size: Pair) -> bool:
    """Whether whole tiles of a contiguous map are averaged, on a CPU and not for a graph that compiles or exports."""
    whole = x.shape[2] % kernel_size[0] == 0 and x.shape[3] % kernel_size[1] == 0
    plain = x.device.type == "cpu" and x.is_contiguous() and x.dtype in (torch.float32, torch.float64)
    return whole and plain and not torch.compiler.is_compiling()


def _average_tiles(x: Tensor, kernel_size: Pair) -> Tensor:
    """Average tiles that lie side by side as sums of whole rows, then of every n-th column.

    The sums run along the fast axis; ``F.avg_pool2d`` of a contiguous map on a CPU does not, and takes twice as long
    (``benchmarks/pooling_speed.py``).
    """
    sums = TileSums.of(x, kernel_size) if trains_on_cpu(x) else sum_tiles(x, kernel_size)
    return sums * (1 / (kernel_size[0] * kernel_size[1]))


class WindowPool2d(nn.Module):
    """What every pooling layer here has: channels and a window, checked, printed, and a check of the map.

    Args:
        in_channels: C.
        kernel_size: pooling window, in pixels.
        stride: step of the window, in pixels; default ``kernel_size``.
        padding: pixels around the map, at most half the kernel.
        ceil_mode: whether a last window that reaches over the edge counts, as in ``nn.MaxPool2d``.

    Raises:
        ValueError: a value out of its range.
    """

    pads_count = True
    """Whether zeros around the map count in a window's average."""

    def __init__(
        self,
        in_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: int | Pair = 0,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.check_at_least_one(in_channels=in_channels)
        self.in_channels = in_channels
        self.window = as_window(self.label, kernel_size, stride, padding, ceil_mode)

    @property
    def label(self) -> str:
        """The class's name, which begins every message."""
        return type(self).__name__

    def check_at_least_one(self, **values: int) -> None:
        """Raise a ValueError that names the first value that is no int, or under 1."""
        for name, value in values.items():
            if not isinstance(value, int):
                raise ValueError(f"{self.label}: {name} must be an int, got {value!r}")
            if value < 1:
                raise ValueError(f"{self.label}: {name} must be at least 1, got {value}")

    def check_choice(self, name: str, value: object, choices: tuple[object, ...]) -> None:
        """Raise a ValueError that lists the choices if ``value`` is none of them."""
        if value not in choices:
            raise ValueError(f"{self.label}: {name} must be one of {choices}, got {value!r}")

    def check_map(self, x: Tensor) -> None:
        """Raise a ValueError unless ``x`` is (N, C, H, W) and holds at least one window."""
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"{self.label}: x must be (N, {self.in_channels}, H, W), got {tuple(x.shape)}")
        if min(self.window.output_size(x.shape[2], x.shape[3])) < 1:
            raise ValueError(
                f"{self.label}: the map must be at least as large as the window {self.window.kernel_size}, "
                f"got {tuple(x.shape[2:])}"
            )

    def extra_repr(self) -> str:
        """Return the channels and the window, for ``print(module)``."""
        w = self.window
        return (
            f"{self.in_channels}, kernel_size={w.kernel_size}, stride={w.stride}, padding={w.padding}, "
            f"ceil_mode={w.ceil_mode}"
        )
