from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sapool.passes.tiling.regions import POINTWISE, Part, Taps, Track, equal_parts, merge, tile_axis
from sapool.tflite.padding import same_padding_before

# kernel, stride, dilation, SAME
Kernel = tuple[int, int, int, bool]
kernels = st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 2), st.booleans())


def slide(x: NDArray[np.float64], kernel: Kernel) -> NDArray[np.float64]:
    """A naive sliding window of the runtime's rules whose sums tell every tap apart; empty if it does not fit."""
    side, stride, dilation, same = kernel
    extent = (side - 1) * dilation + 1
    made = -(-len(x) // stride) if same else (len(x) - extent) // stride + 1
    pad = max((made - 1) * stride + extent - len(x), 0) if same else 0
    out = []
    for i in range(made):
        taps = [i * stride - pad // 2 + j * dilation for j in range(side)]
        out.append(sum((j + 1.5) * x[t] for j, t in enumerate(taps) if 0 <= t < len(x)))
    return np.array(out)


def run(x: NDArray[np.float64], chain: list[Kernel]) -> NDArray[np.float64]:
    for kernel in chain:
        x = slide(x, kernel)
    return x


def tracks_of(size: int, chain: list[Kernel]) -> list[Track]:
    found = [Track(size)]
    x = np.zeros(size)
    for side, stride, dilation, same in chain:
        x = slide(x, (side, stride, dilation, same))
        extent = (side - 1) * dilation + 1
        before = same_padding_before(found[-1].size, extent, stride) if same else 0
        found.append(found[-1].through(Taps(extent, stride, before), len(x)))
    return found


@settings(max_examples=400, deadline=None)
@given(st.integers(6, 60), st.lists(kernels, min_size=1, max_size=4), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_tiles_hold_what_the_whole_map_holds(size: int, chain: list[Kernel], count: int, seed: int) -> None:
    """Random numbers through random kernels: every tile's part equals the whole map's, to the bit."""
    x = np.random.default_rng(seed).integers(-1000, 1000, size).astype(np.float64)
    whole = run(x, chain)
    tracks = tracks_of(size, chain) if all(len(run(x, chain[:i])) for i in range(len(chain) + 1)) else []
    if not tracks or len(whole) < count:
        return
    part = equal_parts(len(whole), count)
    step = max(track.stride for track in tracks)
    tiles = tile_axis(size, step, [(tracks[-1], part)], tracks)
    seen = np.zeros(len(whole), bool)
    for start, read, place in zip(tiles.window.places, tiles.reads(tracks[-1], part), part.places, strict=True):
        window = x[start : start + tiles.window.length]
        assert len(window) == tiles.window.length == size - tiles.cut
        made = run(window, chain)
        assert len(made) == tracks[-1].window(tiles.cut)
        assert read >= 0
        np.testing.assert_array_equal(made[read : read + part.length], whole[place : place + part.length])
        seen[place : place + part.length] = True
    assert seen.all()


@settings(max_examples=200, deadline=None)
@given(st.integers(20, 60), st.lists(kernels, min_size=1, max_size=3))
def test_margins_hold_every_element_that_a_cut_changes(size: int, chain: list[Kernel]) -> None:
    """Brute force: an element depends on what lies beyond a cut only inside the margin."""
    tracks = tracks_of(size, chain)
    track, stride = tracks[-1], max(t.stride for t in tracks)
    cut = 2 * stride
    if track.size < 1 or any(t.window(cut) < 1 for t in tracks):
        return
    x = np.random.default_rng(0).normal(size=size)
    whole, window = run(x, chain), run(x[stride : size - stride], chain)
    offset = stride // track.stride
    right = whole[offset : offset + len(window)] == window
    assert right[track.top : len(window) - track.bottom].all()


def test_a_window_is_no_longer_than_the_receptive_field() -> None:
    """A 3-wide kernel: each of 4 tiles of 16 sees 4 + 2, and nothing shorter is laid."""
    track = Track(16).through(Taps(3, 1, 1), 16)
    tiles = tile_axis(16, 1, [(track, equal_parts(16, 4))], [Track(16), track])
    assert tiles.window == Part(6, (0, 3, 7, 10))
    assert tiles.reads(track, equal_parts(16, 4)) == (0, 1, 1, 2)


def test_equal_parts_overlap_at_the_end() -> None:
    assert equal_parts(12, 4) == Part(3, (0, 3, 6, 9))
    assert equal_parts(10, 4) == Part(3, (0, 3, 6, 7))
    assert equal_parts(5, 1) == Part(5, (0,))


def test_maps_of_different_strides_do_not_merge() -> None:
    assert merge([Track(8, 2, 1, 0), Track(8, 2, 0, 2)]) == Track(8, 2, 1, 2)
    assert merge([Track(8, 2), Track(8, 1)]) is None
    assert merge([Track(8, 2), Track(7, 2)]) is None
    assert Track(9, 1, 2, 1).through(POINTWISE, 9) == Track(9, 1, 2, 1)
