from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from sapool.firmware.packing import pack_conv
from sapool.firmware.scratch import conv_scratch_bytes, conv_tile
from tests.firmware.kernels import oracle
from tests.firmware.kernels.harness import DSP, Case, agree, array, channels_array, emulate, row_calls

pytest.importorskip("unicorn")


@dataclass(frozen=True)
class Conv:
    """A convolution; padding is top, bottom, left, right."""

    size: tuple[int, int, int]
    count: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    dilation: int = 1
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    short: bool = True
    clamp: tuple[int, int] = (-128, 127)
    out_zero: int = -5
    tile: int = 4


SAME = (1, 1, 1, 1)
ALL = {
    "one pixel": Conv((1, 1, 40), 10),
    "four pixels and all left over": Conv((2, 7, 6), 4),
    "odd depth and odd channels": Conv((3, 9, 5), 7),
    "one channel": Conv((2, 5, 8), 1),
    "one input": Conv((4, 7, 1), 2),
    "3x3": Conv((6, 11, 4), 6, (3, 3), padding=SAME),
    "3x3 of three channels, stride 2": Conv((7, 9, 3), 5, (3, 3), 2, padding=(0, 1, 0, 1)),
    "dilated, not square": Conv((7, 12, 2), 4, (3, 2), dilation=2, padding=(2, 2, 1, 1)),
    "kernel as large as the map": Conv((4, 4, 3), 3, (4, 4)),
    "zero point at the bottom": Conv((2, 8, 8), 6, out_zero=-128),
    "two pixels at a time": Conv((2, 7, 6), 4, tile=2),
    "one pixel at a time": Conv((2, 7, 6), 4, tile=1),
    "long requantisation": Conv((3, 9, 6), 7, short=False),
    "long requantisation, clamped": Conv((3, 9, 6), 7, (3, 3), padding=SAME, short=False, clamp=(-20, 90)),
}


def make(conv: Conv, seed: int = 0) -> tuple[Case, NDArray[np.int8], NDArray[np.int64]]:
    """Return the C case, its image and what comes out."""
    rng = np.random.default_rng(seed)
    _, width, channels = conv.size
    kernel_h, kernel_w = conv.kernel
    image, in_zero = rng.integers(-128, 128, conv.size), 3
    weights = rng.integers(-127, 128, (conv.count, kernel_h, kernel_w, channels))
    depth = weights[0].size
    bias, multipliers = rng.integers(-5000, 5000, conv.count), rng.integers(1 << 30, 1 << 31, conv.count)
    shifts = -rng.integers(6, 10, conv.count) - int(np.log2(depth) / 2)
    if not conv.short:
        shifts[::2] = rng.integers(-1, 3, len(shifts[::2]))
    wanted = oracle.convolve(
        image,
        weights,
        bias,
        multipliers,
        shifts,
        stride=conv.stride,
        dilation=conv.dilation,
        padding=conv.padding,
        in_zero=in_zero,
        out_zero=conv.out_zero,
        low=conv.clamp[0],
        high=conv.clamp[1],
    )
    folded = bias - in_zero * weights.reshape(conv.count, -1).sum(1)
    out_width = wanted.shape[1]
    numbers = (width, channels, out_width, conv.count, kernel_h, kernel_w, conv.stride, conv.dilation)
    more = (conv.padding[2], in_zero, conv.out_zero, *conv.clamp, int(conv.short), conv.tile)
    source = f"""
#include "sapool_conv.h"
{array("int8_t", "weights", pack_conv(weights.reshape(conv.count, -1).astype(np.int8)))}
{channels_array(folded, multipliers, shifts)}
static const sapool_conv op = {{weights, channels, {", ".join(map(str, (*numbers, *more)))}}};
{row_calls("sapool_conv_row", conv, kernel_h, wanted)}
"""
    return (
        Case(source, wanted.size, conv_scratch_bytes(min(conv.tile, conv_tile(out_width)), depth)),
        image.astype(np.int8),
        wanted,
    )


@pytest.mark.parametrize("name", ALL)
def test_against_the_oracle(name: str) -> None:
    case, image, wanted = make(ALL[name])
    assert len(np.unique(wanted)) > 2  # neither all clamped nor all the same
    agree(case, image, wanted, everywhere=name in ("odd depth and odd channels", "3x3 of three channels, stride 2"))


@pytest.mark.parametrize("depth", range(2, 19, 2))
def test_every_number_of_steps_of_the_inner_loop(depth: int) -> None:
    """It is entered in its midst: there are four ways in."""
    case, image, wanted = make(Conv((1, 7, depth), 4))
    assert np.array_equal(emulate(case, image, flags=DSP)[0], wanted.ravel())


@pytest.mark.parametrize(
    ("conv", "at_most"),
    [
        (Conv((2, 16, 16), 96), 1.5),
        (Conv((2, 16, 64), 64), 1.1),
        (Conv((2, 16, 192), 64), 1.0),
        (Conv((8, 32, 16), 16, (3, 3), padding=SAME), 1.5),
    ],
    ids=["16 to 96", "64 to 64", "192 to 64", "3x3"],
)
def test_instructions_a_multiplication_on_a_cortex_m4(conv: Conv, at_most: float) -> None:
    case, image, wanted = make(conv)
    found, instructions = emulate(case, image, flags=DSP)
    assert np.array_equal(found, wanted.ravel())
    kernel = conv.kernel[0] * conv.kernel[1] * conv.size[2]
    assert instructions / (wanted.size * kernel) < at_most
