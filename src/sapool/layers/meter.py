"""How far a pooling layer is from average pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sapool.layers.window import Window, as_pair


@torch.no_grad()
def distance_from_average(pool: nn.Module, x: Tensor, *, up_to_scale: bool = False) -> float:
    """Return the relative distance ``|pool(x) - avg(x)| / |avg(x)|`` (Euclidean) of a pool from average pooling.

    0 is average pooling; the paper's form at its random initialisation gives 0.03 to 0.09. Zeros around the map count
    in the average where they do in the pool. The layer is run in eval mode, every part left in the mode it was in.

    Args:
        pool: a pooling layer with a window (any of :data:`sapool.POOLS`, or torch's own for maps).
        x: a typical input, (N, C, H, W), or (N, C, L) for a layer that takes that.
        up_to_scale: compare with the nearest multiple of average pooling, a factor a channel: what an un-normalised
            pool does beyond scaling its map.

    Returns:
        The distance, without unit.

    Raises:
        ValueError: a layer without a window, an output of another size, or an input whose average is zero.
    """
    window, pads_count = _window_of(pool)
    modes = {module: module.training for module in pool.modules()}
    try:
        pooled = pool.eval()(x)
    finally:
        for module, training in modes.items():
            module.training = training
    flat = x.dim() == 3  # a sequence is a map of one row
    average = window.average(x.unsqueeze(2) if flat else x, pads_count)
    average = average.squeeze(2) if flat else average
    if pooled.shape != average.shape:
        raise ValueError(
            f"distance_from_average: the pool gives {tuple(pooled.shape)}, average pooling {tuple(average.shape)}"
        )
    pooled, average = pooled.double(), average.double()
    if up_to_scale:
        over = tuple(dim for dim in range(x.dim()) if dim != 1)
        norm = (average * average).sum(over, keepdim=True)
        average = average * (pooled * average).sum(over, keepdim=True) / norm.clamp_min(torch.finfo(norm.dtype).tiny)
    size = average.norm()
    if size == 0:
        raise ValueError("distance_from_average: x must not average to zero everywhere")
    return float((pooled - average).norm() / size)


def _window_of(pool: nn.Module) -> tuple[Window, bool]:
    """Return a pool's window, and whether zeros around the map count in it."""
    window = getattr(pool, "window", None)
    if isinstance(window, Window):
        plain = Window(window.kernel_size, window.stride, window.padding, window.ceil_mode)
        return plain, bool(getattr(pool, "pads_count", True))
    try:
        kernel_size, stride, padding = (as_pair(getattr(pool, name)) for name in ("kernel_size", "stride", "padding"))
    except (AttributeError, ValueError):
        raise ValueError(
            f"distance_from_average: pool must be a pooling layer with a window, got {type(pool).__name__}"
        ) from None
    window = Window(kernel_size, stride, padding, bool(getattr(pool, "ceil_mode", False)))
    return window, bool(getattr(pool, "count_include_pad", True))
