"""How many bytes a kernel works in while it makes a row: part of the plan."""

from __future__ import annotations

DSP_CORES = ("cortex-m4", "m7", "m33", "m55", "host")  # "host" has the same plan as a board with DSP instructions


_COLUMN_PAIRS, _PAIR_BYTES = 17, 48  # SAPOOL_COLUMN_PAIRS of sapool_depthwise.h, and what four channels of one take


def conv_scratch_bytes(out_width: int, taps: int) -> int:
    """Return the scratch of a convolution's row: up to four pixels' windows, as int16.

    Args:
        out_width: pixels of an output row.
        taps: of one output value.
    """
    return 2 * min(4, out_width) * (taps + taps % 2)


def depthwise_scratch_bytes(out_width: int, kernel: tuple[int, int], stride: int, dilation: int, core: str) -> int:
    """Return the scratch of a depthwise convolution's row: columns of four channels, where a core's kernel has them.

    Args:
        out_width: pixels of an output row.
        kernel: its rows and columns.
        stride: of the columns.
        dilation: of the columns.
        core: what the program is for.
    """
    if core not in DSP_CORES or kernel != (3, 3) or dilation != 1 or stride > 2:
        return 0
    return _PAIR_BYTES * min(_COLUMN_PAIRS, (out_width + 3) // 2 if stride == 1 else out_width + 1)
