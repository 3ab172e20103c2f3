"""How weights lie in flash for each kernel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def pack_conv(weights: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return the weights of ``sapool_conv_row``: two channels side by side, two taps at a time.

    Args:
        weights: (channels, taps), taps in the order (y, x, input channel).

    Returns:
        (n,): for channels n, n + 1 and taps k, k + 1: w[n][k], w[n+1][k], w[n][k+1], w[n+1][k+1]; both padded to even.
    """
    channels, taps = weights.shape
    even = np.zeros((channels + channels % 2, taps + taps % 2), np.int8)
    even[:channels, :taps] = weights
    pairs = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2)
    return np.ascontiguousarray(pairs.transpose(0, 2, 3, 1)).reshape(-1)


def pack_depthwise(weights: NDArray[np.int8], dilation: int, multiplier: int) -> NDArray[np.int8]:
    """Return the weights of ``sapool_depthwise_row``.

    Args:
        weights: (kernel rows, kernel columns, channels of the output).
        dilation: of the columns.
        multiplier: channels of the output for each of the input.

    Returns:
        (n,): of 3 x 3 kernels without either, channel by channel, w[0][0], w[0][1], w[1][0], w[1][1], w[0][2], w[2][0],
        w[1][2], w[2][1], w[2][2], so that a word widened holds two rows of one column; else as they are.
    """
    if weights.shape[:2] != (3, 3) or (dilation, multiplier) != (1, 1):
        return np.ascontiguousarray(weights).reshape(-1)
    by_channel = weights.reshape(9, -1).T
    return np.ascontiguousarray(by_channel[:, [0, 1, 3, 4, 2, 6, 5, 7, 8]]).reshape(-1)
