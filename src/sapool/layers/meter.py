"""How far a pooling layer is from average pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sapool.layers.window import Window, as_pair


@torch.no_grad()
def distance_from_average(pool: nn.Module, x: Tensor, *, up_to_scale: bool = False) -> float:
    """Return the relative distance ``|pool(x) - avg(x)| / |avg(x)|`` (Euclidean) of a pool from average pooling.

    0 is average pooling; the paper's form at its random initialisation gives 0.03 to 0.09. The layer is run in eval
    mode and left in the mode it was in.

    Args:
        pool: a pooling layer with a window (any of :data:`sapool.POOLS`, or torch's own).
        x: a typical input, (N, C, H, W).
        up_to_scale: compare with the nearest multiple of average pooling, a factor a channel: what an un-normalised
            pool does beyond scaling its map.

    Returns:
        The distance, without unit.

    Raises:
        ValueError: a layer without a window, an output of another size, or an input whose average is zero.
    """
    window = _window_of(pool)
    was_training = pool.training
    try:
        pooled = pool.eval()(x)
    finally:
        pool.train(was_training)
    average = window.average(x)
    if pooled.shape != average.shape:
        raise ValueError(
            f"distance_from_average: the pool gives {tuple(pooled.shape)}, average pooling {tuple(average.shape)}"
        )
    pooled, average = pooled.double(), average.double()
    if up_to_scale:
        over = (0, 2, 3)
        norm = (average * average).sum(over, keepdim=True)
        average = average * (pooled * average).sum(over, keepdim=True) / norm.clamp_min(torch.finfo(norm.dtype).tiny)
    size = average.norm()
    if size == 0:
        raise ValueError("distance_from_average: x must not average to zero everywhere")
    return float((pooled - average).norm() / size)


def _window_of(pool: nn.Module) -> Window:
    window = getattr(pool, "window", None)
    if isinstance(window, Window):
        return Window(window.kernel_size, window.stride, window.padding, window.ceil_mode)
    if not all(isinstance(getattr(pool, name, None), int | tuple) for name in ("kernel_size", "stride", "padding")):
        raise ValueError(f"distance_from_average: pool must be a pooling layer, got {type(pool).__name__}")
    kernel_size, stride, padding = (as_pair(getattr(pool, name)) for name in ("kernel_size", "stride", "padding"))
    return Window(kernel_size, stride, padding, bool(getattr(pool, "ceil_mode", False)))
