"""How many bytes a kernel works in while it makes a row: part of the plan.

Each takes a tile, how much it does at once: the largest is the fastest, a smaller one needs less.
"""

from __future__ import annotations

DSP_CORES = ("cortex-m4", "m7", "m33", "m55", "host")  # "host" has the same plan as a board with DSP instructions
LINE_TILES = (4, 2, 1)  # pixels of a convolution, rows of a product
_PAIR_BYTES = 48  # of four channels of a depthwise convolution's input
_MOST_PAIRS = 17


def conv_scratch_bytes(tile: int, taps: int) -> int:
    """Return the scratch of a convolution's row: the windows of some pixels, as int16.

    Args:
        tile: pixels, one of ``LINE_TILES``.
        taps: of one output value.
    """
    return 2 * tile * (taps + taps % 2)


def conv_tile(out_width: int) -> int:
    """Return the largest tile that a row of ``out_width`` pixels fills."""
    return max(tile for tile in LINE_TILES if tile <= max(out_width, 1))


def depthwise_tile(out_width: int, kernel: tuple[int, int], stride: int, dilation: int, core: str) -> int:
    """Return the largest tile of a depthwise convolution: pairs of columns, 0 where a core's kernel needs none.

    Any from 2 up to it will do.

    Args:
        out_width: pixels of an output row.
        kernel: its rows and columns.
        stride: of the columns.
        dilation: of the columns.
        core: what the program is for.
    """
    if core not in DSP_CORES or kernel != (3, 3) or dilation != 1 or stride > 2:
        return 0
    return min(_MOST_PAIRS, (out_width + 3) // 2 if stride == 1 else out_width + 1)


def depthwise_scratch_bytes(tile: int) -> int:
    """Return the scratch of a depthwise convolution's row: ``tile`` pairs of columns of four channels."""
    return _PAIR_BYTES * tile


def matmul_scratch_bytes(tile: int, depth: int, core: str) -> int:
    """Return the scratch of a product's rows: some of the left operand as int16, four columns of the right one.

    Args:
        tile: rows, one of ``LINE_TILES``.
        depth: of the sums.
        core: what the program is for.
    """
    return (8 + 4 * tile) * ((depth + 1) // 2 + 1) if core in DSP_CORES else 0


Tiles = tuple[tuple[int, int], ...]


def conv_tiles(out_width: int, taps: int) -> Tiles:
    """Return the tiles of a convolution's row, the largest first, and the scratch of each."""
    largest = conv_tile(out_width)
    return tuple((tile, conv_scratch_bytes(tile, taps)) for tile in LINE_TILES if tile <= largest)


def matmul_tiles(rows: int, depth: int, core: str) -> Tiles:
    """Return the tiles of a product's rows, the largest first, and the scratch of each."""
    largest = conv_tile(rows)
    return tuple((tile, matmul_scratch_bytes(tile, depth, core)) for tile in LINE_TILES if tile <= largest)


def depthwise_tiles(out_width: int, kernel: tuple[int, int], stride: int, dilation: int, core: str) -> Tiles:
    """Return the tiles of a depthwise convolution's row, the largest first, and the scratch of each."""
    tile = depthwise_tile(out_width, kernel, stride, dilation, core)
    found = [tile]
    while found[-1] >= 4:
        found.append(found[-1] // 2)
    return tuple((tile, depthwise_scratch_bytes(tile)) for tile in found)
