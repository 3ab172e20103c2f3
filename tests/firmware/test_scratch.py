"""Scratch of a row's tile: enough for what the kernel holds in it, the largest tile first."""

from __future__ import annotations

import pytest

from sapool.firmware.scratch import (
    DSP_CORES,
    conv_scratch_bytes,
    conv_tile,
    conv_tiles,
    depthwise_scratch_bytes,
    depthwise_tile,
    depthwise_tiles,
    matmul_scratch_bytes,
    matmul_tiles,
)


@pytest.mark.parametrize(("width", "tile"), [(0, 1), (1, 1), (2, 2), (3, 2), (4, 4), (50, 4)])
def test_a_convolution_does_as_many_pixels_at_once_as_fit(width: int, tile: int) -> None:
    assert conv_tile(width) == tile
    assert [one for one, _ in conv_tiles(width, 9)] == [n for n in (4, 2, 1) if n <= tile]


@pytest.mark.parametrize("taps", [1, 2, 9, 27])
def test_a_convolution_holds_its_windows_as_int16_in_pairs(taps: int) -> None:
    assert [conv_scratch_bytes(tile, taps) for tile in (1, 2, 4)] == [2 * n * 2 * -(-taps // 2) for n in (1, 2, 4)]


@pytest.mark.parametrize("depth", [1, 2, 7, 64])
def test_a_product_holds_its_rows_and_four_columns(depth: int) -> None:
    for tile in (1, 2, 4):
        operands = 2 * tile * depth + 4 * depth  # int16 rows of the left one, int8 columns of the right one
        assert operands <= matmul_scratch_bytes(tile, depth, "cortex-m4") <= operands + 12 * (4 + tile)
        assert matmul_scratch_bytes(tile, depth, "m0plus") == 0
    assert [tile for tile, _ in matmul_tiles(3, depth, "m7")] == [2, 1]


def test_a_depthwise_row_needs_scratch_only_for_the_fast_3_by_3() -> None:
    for core in DSP_CORES:
        assert depthwise_tile(20, (3, 3), 1, 1, core) == 11  # pairs over 20 + 2 columns
        assert depthwise_tile(20, (5, 5), 1, 1, core) == 0
        assert depthwise_tile(20, (3, 3), 3, 1, core) == 0
        assert depthwise_tile(20, (3, 3), 1, 2, core) == 0
    assert depthwise_tile(20, (3, 3), 1, 1, "riscv32") == 0


@pytest.mark.parametrize("width", range(1, 60, 7))
@pytest.mark.parametrize("stride", [1, 2])
def test_smaller_depthwise_tiles_take_less_and_hold_two_pairs_at_least(width: int, stride: int) -> None:
    tiles = depthwise_tiles(width, (3, 3), stride, 1, "m33")
    sizes = [size for _, size in tiles]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)
    assert min(tile for tile, _ in tiles) >= 2
    assert all(size == depthwise_scratch_bytes(tile) for tile, size in tiles)
