from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.firmware.kernels.harness import Case, agree, row_calls

pytest.importorskip("unicorn")


@dataclass(frozen=True)
class Pool:
    """A pool; padding is top, bottom, left, right."""

    size: tuple[int, int, int]
    kernel: tuple[int, int] = (2, 2)
    stride: int = 2
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    clamp: tuple[int, int] = (-128, 127)
    dilation: int = 1


ALL = {
    "2x2": Pool((6, 8, 8)),
    "odd channels": Pool((4, 6, 5)),
    "3x3, padded": Pool((7, 9, 4), (3, 3), 2, (1, 1, 1, 1)),
    "whole map": Pool((7, 5, 6), (7, 5), 1),
    "as many as an int16 holds": Pool((15, 17, 4), (15, 17), 1),
    "more": Pool((16, 16, 4), (16, 16), 1),
    "clamped": Pool((6, 8, 4), clamp=(-10, 20)),
}


def pooled(pool: Pool, image: NDArray[np.int64], average: bool) -> NDArray[np.int64]:
    """Pool as TFLM does: padding counts for nothing, averages round halves away from zero."""
    height, width, channels = pool.size
    top, bottom, left, right = pool.padding
    rows = (height + top + bottom - pool.kernel[0]) // pool.stride + 1
    columns = (width + left + right - pool.kernel[1]) // pool.stride + 1
    out = np.zeros((rows, columns, channels), np.int64)
    for y in range(rows):
        for x in range(columns):
            y0, x0 = y * pool.stride - top, x * pool.stride - left
            window = image[max(y0, 0) : y0 + pool.kernel[0], max(x0, 0) : x0 + pool.kernel[1]].reshape(-1, channels)
            if average:
                means = window.sum(0) / len(window)
                out[y, x] = np.where(means >= 0, np.floor(means + 0.5), np.ceil(means - 0.5))
            else:
                out[y, x] = window.max(0)
    return np.clip(out, *pool.clamp)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("kind", ["average", "max"])
def test_against_the_oracle(name: str, kind: str) -> None:
    pool = ALL[name]
    _, width, channels = pool.size
    image = np.random.default_rng(0).integers(-128, 128, pool.size)
    image[:2, :2] = -128  # a window of the smallest values
    wanted = pooled(pool, image, kind == "average")
    numbers = (width, channels, wanted.shape[1], *pool.kernel, pool.stride, pool.padding[2], *pool.clamp)
    source = f"""
#include "sapool_{kind}_pool.h"
static const sapool_pool op = {{{", ".join(map(str, numbers))}}};
{row_calls(f"sapool_{kind}_pool_row", pool, pool.kernel[0], wanted, scratch="")}
"""
    agree(Case(source, wanted.size), image.astype(np.int8), wanted)
