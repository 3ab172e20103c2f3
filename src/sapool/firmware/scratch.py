"""How many bytes a kernel works in while it makes a row: part of the plan."""

from __future__ import annotations


def scratch_bytes(kernel: str, out_width: int, taps: int, core: str) -> int:
    """Return the scratch of a convolution's row.

    Args:
        kernel: ``conv`` or ``depthwise``.
        out_width: pixels of an output row.
        taps: of one output value.
        core: what the program is for.
    """
    del core  # every core has the same plan, so that the host computes what the board does
    if kernel == "conv":
        return -(-2 * min(4, out_width) * (taps + taps % 2) // 4) * 4
    return 0
