from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from sapool.firmware.packing import pack_depthwise
from sapool.firmware.scratch import depthwise_scratch_bytes, depthwise_tile
from tests.firmware.kernels import oracle
from tests.firmware.kernels.harness import DSP, Case, agree, array, channels_array, emulate, row_calls

pytest.importorskip("unicorn")


@dataclass(frozen=True)
class Depthwise:
    """A depthwise convolution; padding is top, bottom, left, right."""

    size: tuple[int, int, int]
    kernel: tuple[int, int] = (3, 3)
    stride: int = 1
    padding: tuple[int, int, int, int] = (1, 1, 1, 1)
    dilation: int = 1
    multiplier: int = 1
    short: bool = True
    clamp: tuple[int, int] = (-128, 127)
    tile: int = 17


NONE = (0, 0, 0, 0)
ALL = {
    "odd width": Depthwise((4, 9, 8)),
    "even width, channels that overlap": Depthwise((5, 8, 7)),
    "one column": Depthwise((3, 1, 4)),
    "one row of two": Depthwise((1, 2, 4)),
    "wider than the scratch": Depthwise((3, 70, 4)),
    "three channels": Depthwise((5, 7, 3)),
    "no padding": Depthwise((6, 7, 4), padding=NONE),
    "stride 2, even": Depthwise((6, 12, 8), stride=2, padding=(0, 1, 0, 1)),
    "stride 2, odd": Depthwise((7, 9, 5), stride=2),
    "stride 2, wider than the scratch": Depthwise((3, 75, 4), stride=2),
    "stride 3": Depthwise((5, 9, 4), stride=3),
    "5x5": Depthwise((7, 9, 4), (5, 5), padding=(2, 2, 2, 2)),
    "dilated": Depthwise((9, 9, 4), padding=(2, 2, 2, 2), dilation=2),
    "two outputs a channel": Depthwise((4, 6, 3), multiplier=2),
    "the smallest scratch": Depthwise((3, 9, 4), tile=2),
    "the smallest scratch, stride 2": Depthwise((5, 9, 4), stride=2, tile=2),
    "long requantisation": Depthwise((4, 9, 6), short=False),
    "clamped": Depthwise((4, 9, 6), short=False, clamp=(-30, 70)),
}


def make(given: Depthwise, seed: int = 0) -> tuple[Case, NDArray[np.int8], NDArray[np.int64]]:
    """Return the C case, its image and what comes out."""
    rng = np.random.default_rng(seed)
    _, width, channels = given.size
    count, (kernel_h, kernel_w), in_zero, out_zero = channels * given.multiplier, given.kernel, 3, -5
    image, weights = rng.integers(-128, 128, given.size), rng.integers(-127, 128, (kernel_h, kernel_w, count))
    bias, multipliers = rng.integers(-2000, 2000, count), rng.integers(1 << 30, 1 << 31, count)
    shifts = -rng.integers(7, 10, count)
    if not given.short:
        shifts[::2] = rng.integers(-1, 2, len(shifts[::2]))
    wanted = np.concatenate(
        [
            oracle.convolve(
                image[:, :, n // given.multiplier, None],
                weights[None, :, :, n, None],
                bias[n : n + 1],
                multipliers[n : n + 1],
                shifts[n : n + 1],
                stride=given.stride,
                dilation=given.dilation,
                padding=given.padding,
                in_zero=in_zero,
                out_zero=out_zero,
                low=given.clamp[0],
                high=given.clamp[1],
            )
            for n in range(count)
        ],
        axis=2,
    )
    packed = pack_depthwise(weights.astype(np.int8), given.dilation, given.multiplier)
    out_width = wanted.shape[1]
    numbers = (width, channels, out_width, given.multiplier, kernel_h, kernel_w, given.stride, given.dilation)
    tile = min(given.tile, depthwise_tile(out_width, given.kernel, given.stride, given.dilation, "cortex-m4"))
    more = (given.padding[2], in_zero, out_zero, *given.clamp, int(given.short), tile)
    folded = bias - in_zero * weights.reshape(-1, count).sum(0)
    source = f"""
#include "sapool_depthwise.h"
{array("int8_t", "weights", packed)}
{channels_array(folded, multipliers, shifts)}
static const sapool_depthwise op = {{weights, channels, {", ".join(map(str, (*numbers, *more)))}}};
{row_calls("sapool_depthwise_row", given, kernel_h, wanted)}
"""
    return Case(source, wanted.size, depthwise_scratch_bytes(tile)), image.astype(np.int8), wanted


@pytest.mark.parametrize("name", ALL)
def test_against_the_oracle(name: str) -> None:
    case, image, wanted = make(ALL[name])
    assert len(np.unique(wanted)) > 2  # neither all clamped nor all the same
    agree(case, image, wanted, everywhere=name in ("odd width", "stride 2, odd"))


@pytest.mark.parametrize("width", range(2, 9))
@pytest.mark.parametrize("stride", [1, 2])
def test_every_way_a_row_can_end(width: int, stride: int) -> None:
    case, image, wanted = make(Depthwise((3, width, 4), stride=stride))
    assert np.array_equal(emulate(case, image, flags=DSP)[0], wanted.ravel())


@pytest.mark.parametrize(("size", "at_most"), [((16, 56, 8), 3.1), ((14, 14, 16), 3.9)])
def test_instructions_a_multiplication_on_a_cortex_m4(size: tuple[int, int, int], at_most: float) -> None:
    case, image, wanted = make(Depthwise(size))
    found, instructions = emulate(case, image, flags=DSP)
    assert np.array_equal(found, wanted.ravel())
    assert instructions / (wanted.size * 9) < at_most
