"""What moves numbers without changing them: reshape, permute, slices, concatenation, resizing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from sapool.base.tflm_limits import MOST_JOINED
from sapool.predict.lowering.builder import Builder, Shape, Value
from sapool.predict.lowering.convolution import emit_pad

# How many inputs TensorFlow Lite Micro's CONCATENATION takes.


def meta(value: Value) -> torch.Tensor:
    """Return a tensor of a value's shape without memory."""
    return torch.empty(value.shape, device="meta")


def emit_reshape(b: Builder, x: Value, shape: Shape) -> Value:
    """Emit RESHAPE, or nothing where the shape stays."""
    if tuple(shape) == x.shape:
        return x
    # One pixel, or one channel, is laid out alike either way.
    x = x if x.last and math.prod(x.shape[2:]) == 1 else b.as_first(x)
    return b.emit("RESHAPE", (x, b.numbers(shape)), tuple(shape), last=False)


def lower_view(b: Builder, x: Value, *shape: Any) -> Value:
    """``view`` and ``reshape``."""
    wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list | torch.Size) else shape
    return emit_reshape(b, x, tuple(meta(x).reshape(tuple(wanted)).shape))


def lower_flatten(b: Builder, x: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    """``flatten``."""
    return emit_reshape(b, x, tuple(meta(x).flatten(start_dim, end_dim).shape))


def lower_squeeze(b: Builder, x: Value, dim: Any = None) -> Value:
    """``squeeze``."""
    squeezed = meta(x).squeeze() if dim is None else meta(x).squeeze(dim)
    return emit_reshape(b, x, tuple(squeezed.shape))


def lower_unsqueeze(b: Builder, x: Value, dim: int) -> Value:
    """``unsqueeze``."""
    return emit_reshape(b, x, tuple(meta(x).unsqueeze(dim).shape))


def lower_permute(b: Builder, x: Value, *order: Any) -> Value:
    """``permute``; to channel-last and back costs nothing where the runtime already holds it so."""
    wanted = order[0] if len(order) == 1 and isinstance(order[0], tuple | list) else order
    dims = tuple(int(d) % len(x.shape) for d in wanted)
    shape = tuple(x.shape[d] for d in dims)
    if x.last and dims == (0, 2, 3, 1):
        return Value(x.place, shape, last=False)
    if not x.last and dims == (0, 3, 1, 2):
        return Value(x.place, shape, last=True)
    x = b.as_first(x)
    moved = [d for d in dims if x.shape[d] > 1]
    if moved == sorted(moved):
        return emit_reshape(b, x, shape)
    return b.emit("TRANSPOSE", (x, b.numbers(dims)), shape, last=False)


def lower_transpose(b: Builder, x: Value, first: int, second: int) -> Value:
    """``transpose``."""
    order = list(range(len(x.shape)))
    order[first], order[second] = order[second], order[first]
    return lower_permute(b, x, order)


def lower_cat(b: Builder, tensors: Sequence[Value], dim: int = 0) -> Value:
    """``cat``; more than ten inputs are joined in steps, as the runtime takes no more."""
    last = any(value.last for value in tensors)
    sides = [b.as_last(v) if last else b.as_first(v) for v in tensors]
    while len(sides) > MOST_JOINED:
        sides = [_concatenation(b, sides[:MOST_JOINED], dim, last), *sides[MOST_JOINED:]]
    return _concatenation(b, sides, dim, last) if len(sides) > 1 else sides[0]


def _concatenation(b: Builder, sides: Sequence[Value], dim: int, last: bool) -> Value:
    dim %= len(sides[0].shape)
    shape = list(sides[0].shape)
    shape[dim] = sum(side.shape[dim] for side in sides)
    axis = {0: 0, 1: 3, 2: 1, 3: 2}[dim] if last else dim
    return b.emit("CONCATENATION", sides, tuple(shape), last, axis=axis, fusedActivationFunction=0)


def lower_chunk(b: Builder, x: Value, chunks: int, dim: int = 0) -> tuple[Value, ...]:
    """``chunk``: a SLICE for every part."""
    return _parts(b, x, [part.shape for part in meta(x).chunk(chunks, dim)])


def lower_split(b: Builder, x: Value, sizes: Any, dim: int = 0) -> tuple[Value, ...]:
    """``split``: a SLICE for every part."""
    return _parts(b, x, [part.shape for part in torch.split(meta(x), sizes, dim)])


def _parts(b: Builder, x: Value, shapes: Sequence[Shape]) -> tuple[Value, ...]:
    x = b.as_last(x)
    start = [0] * len(x.shape)
    parts = []
    for shape in shapes:
        begin, extent = (_held(x, numbers) for numbers in (start, shape))
        parts.append(b.emit("SLICE", (x, b.numbers(begin), b.numbers(extent)), tuple(shape), x.last))
        start = [at + n if n < whole else at for at, n, whole in zip(start, shape, x.shape, strict=True)]
    return tuple(parts)


def _held(x: Value, numbers: Sequence[int]) -> list[int]:
    """Return one number a side in the order in which the runtime holds the sides of ``x``."""
    return [numbers[i] for i in (0, 2, 3, 1)] if x.last else list(numbers)


def lower_getitem(b: Builder, x: Any, index: Any) -> Any:
    """Indexing: of a tuple, of a shape, or of a tensor by slices and numbers."""
    if not isinstance(x, Value):
        return x[index]
    parts = _one_a_side(x, index)
    if len(parts) > 1:  # the converter slices one side after the other
        for part in parts:
            x = lower_getitem(b, x, part)
        return x
    got = tuple(meta(x)[index].shape)
    if got == x.shape:
        return x
    if len(got) != len(x.shape):  # a number in the index drops an axis
        x = b.as_first(x)
    return b.emit("STRIDED_SLICE", (x, *_slice_numbers(b, index, x)), got, x.last and len(got) == 4)


def _one_a_side(x: Value, index: Any) -> list[Any]:
    """Return an index of slices alone as several, each of which slices one side; anything else as it is."""
    if not isinstance(index, tuple) or not all(isinstance(part, slice) or part is Ellipsis for part in index):
        return [index]
    given = sum(isinstance(part, slice) for part in index)
    parts: list[slice] = []
    for part in index:
        parts += [part] if isinstance(part, slice) else [slice(None)] * (len(x.shape) - given)
    return [(*[slice(None)] * side, part) for side, part in enumerate(parts) if part != slice(None)] or [index]


def _slice_numbers(b: Builder, index: Any, x: Value) -> tuple[int, ...]:
    count = len(x.shape)
    return tuple(b.constant((count,), "int32", channels=0, shared=(str(index), which, count)) for which in range(3))


def lower_pad(b: Builder, x: Value, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Value:
    """``F.pad`` of rows and columns, or of channels."""
    amounts = [int(n) for n in pad]
    if not any(amounts):
        return x
    if len(x.shape) == 4 and len(amounts) <= 4:
        left, right, top, bottom = (*amounts, 0, 0, 0, 0)[:4]
        return emit_pad(b, x, (top, left), (bottom, right), "PAD" if mode == "constant" else "MIRROR_PAD")
    shape = tuple(torch.nn.functional.pad(meta(x), amounts).shape)
    table = b.constant((len(x.shape), 2), "int32", channels=0, shared=("padding", *amounts))
    return b.emit("PAD", (x, table), shape, x.last)


def lower_interpolate(
    b: Builder,
    x: Value,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    **_: Any,
) -> Value:
    """``F.interpolate``."""
    made = torch.nn.functional.interpolate(meta(x), size=size, scale_factor=scale_factor, mode=mode)
    kind = "RESIZE_NEAREST_NEIGHBOR" if mode.startswith("nearest") else "RESIZE_BILINEAR"
    x = b.as_last(x)
    shape = tuple(made.shape)
    return x if shape == x.shape else b.emit(kind, (x, b.numbers(shape[2:])), shape, last=True)


def lower_expand(b: Builder, x: Value, *sizes: Any) -> Value:
    """``expand``: BROADCAST_TO, unless nothing grows."""
    wanted = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], tuple | list | torch.Size) else sizes
    shape = tuple(meta(x).expand(tuple(wanted)).shape)
    if shape == x.shape:
        return x
    x = b.as_first(x)
    return b.emit("BROADCAST_TO", (x, b.numbers(shape)), shape, last=False)


def lower_pixel_shuffle(b: Builder, x: Value, factor: int) -> Value:
    """``F.pixel_shuffle``: two TRANSPOSEs of what no runtime has in one."""
    n, c, h, w = x.shape
    channels = c // factor**2
    parts = emit_reshape(b, x, (channels, factor, factor, h * w))
    rows = lower_permute(b, parts, 0, 1, 3, 2)
    columns = lower_permute(b, emit_reshape(b, rows, (channels, factor, h, w * factor)), 0, 2, 1, 3)
    return emit_reshape(b, columns, (n, channels, h * factor, w * factor))
