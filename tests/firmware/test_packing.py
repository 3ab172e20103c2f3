"""Packed weights, taken apart again by what each layout says."""

from __future__ import annotations

import numpy as np
import pytest

from sapool.firmware.packing import pack_conv, pack_depthwise
from tests.firmware.kernels.oracle import random_values


@pytest.mark.parametrize(("channels", "taps"), [(1, 1), (2, 2), (3, 5), (4, 27), (7, 8)])
def test_convolutions_come_apart_again(channels: int, taps: int) -> None:
    weights = random_values(0, channels, taps).astype(np.int8)
    packed = iter(pack_conv(weights).tolist())
    seen = np.zeros((channels + channels % 2, taps + taps % 2), np.int8)
    for n in range(0, channels, 2):
        for k in range(0, taps, 2):
            for channel, tap in ((n, k), (n + 1, k), (n, k + 1), (n + 1, k + 1)):
                seen[channel, tap] = next(packed)
    assert next(packed, None) is None
    np.testing.assert_array_equal(seen[:channels, :taps], weights)
    assert not seen[channels:].any()
    assert not seen[:, taps:].any()


def test_depthwise_3_by_3_lies_channel_by_channel() -> None:
    weights = random_values(1, 3, 3, 6).astype(np.int8)
    order = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (2, 2)]
    assert pack_depthwise(weights, 1, 1).tolist() == [int(weights[y, x, n]) for n in range(6) for y, x in order]


@pytest.mark.parametrize(("kernel", "dilation", "multiplier"), [(5, 1, 1), (3, 2, 1), (3, 1, 2)])
def test_other_depthwise_weights_stay_as_they_are(kernel: int, dilation: int, multiplier: int) -> None:
    weights = random_values(2, kernel, kernel, 4).astype(np.int8)
    assert pack_depthwise(weights, dilation, multiplier).tolist() == weights.reshape(-1).tolist()
