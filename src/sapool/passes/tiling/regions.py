"""Which rows of a tile are right: the arithmetic of receptive fields, along one axis.

A window of the source map, a whole number of strides shorter than the map, is run through the same operators with the
same padding rule. Every map inside is then a window of its full-resolution self, shorter by the same number of its own
strides, and starts where the source window starts, divided by the strides between. Padding at a true border of the map
is exactly right; at a cut it is wrong, and each kernel spreads that by some rows: the margins. What lies between the
margins is right to the bit, so windows are laid such that those parts cover the map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Taps:
    """How an operator reads along one axis: output ``i`` sees inputs ``i * stride - before`` and the next ones.

    Attributes:
        extent: from the first to the last element seen, both included ((kernel - 1) * dilation + 1).
        stride: input elements a step of the output.
        before: elements of padding in front of the map.
    """

    extent: int
    stride: int
    before: int


POINTWISE = Taps(1, 1, 0)


@dataclass(frozen=True)
class Track:
    """One map along one axis, as seen from the source of the tiles.

    Attributes:
        size: of the full-resolution map.
        stride: source elements an element of this map.
        top: wrong elements behind a cut in front of a window.
        bottom: wrong elements before a cut behind it.
    """

    size: int
    stride: int = 1
    top: int = 0
    bottom: int = 0

    def window(self, cut: int) -> int:
        """Return this map's size in a window of the source that is ``cut`` elements shorter than the source."""
        return self.size - cut // self.stride

    def through(self, taps: Taps, size_out: int) -> Track:
        """Return the track of what an operator makes of this map; ``size_out`` is its full-resolution size."""
        last = (self.size - self.bottom - taps.extent + taps.before) // taps.stride
        return Track(
            size_out,
            self.stride * taps.stride,
            max(-(-(self.top + taps.before) // taps.stride), 0),
            max(size_out - 1 - last, 0),
        )


def merge(tracks: Sequence[Track]) -> Track | None:
    """Return the track of an element-wise operator on several maps, or None if they are not aligned."""
    first = tracks[0]
    if any((t.size, t.stride) != (first.size, first.stride) for t in tracks):
        return None
    return Track(first.size, first.stride, max(t.top for t in tracks), max(t.bottom for t in tracks))


@dataclass(frozen=True)
class Part:
    """What every tile must bring of one map, along one axis.

    Attributes:
        length: elements, the same for every tile.
        places: where each tile's part starts in the full-resolution map.
    """

    length: int
    places: tuple[int, ...]


def equal_parts(size: int, count: int) -> Part:
    """Return ``count`` equal parts that cover ``size`` elements; the last overlap where it is no multiple."""
    length = -(-size // count)
    return Part(length, tuple(min(i * length, size - length) for i in range(count)))


@dataclass(frozen=True)
class AxisTiles:
    """How the windows of a source lie along one axis.

    Attributes:
        cut: how much shorter than the source every window is.
        window: the source's part that every tile reads.
    """

    cut: int
    window: Part

    def reads(self, track: Track, part: Part) -> tuple[int, ...]:
        """Return where in its own window of a map each tile finds its part of it."""
        starts = self.window.places
        return tuple(place - start // track.stride for place, start in zip(part.places, starts, strict=True))


def tile_axis(size: int, step: int, wanted: Sequence[tuple[Track, Part]], inner: Sequence[Track]) -> AxisTiles:
    """Lay windows along an axis so that each tile's parts come out right, each as short as possible.

    Args:
        size: of the source.
        step: what windows may be shifted by: a multiple of every map's stride.
        wanted: maps behind the source, and what every tile must bring of them.
        inner: every map inside; each must keep at least one element.

    Returns:
        The windows; the whole source for every tile where nothing less will do.
    """
    count = len(wanted[0][1].places)
    # No window is shorter than what it must bring.
    most = min((track.size - part.length) * track.stride for track, part in wanted)
    most = min(most, size - 1, *((track.size - 1) * track.stride for track in inner))
    for cut in range(most // step * step, 0, -step):
        starts = _starts(count, cut, step, wanted)
        if starts is not None:
            return AxisTiles(cut, Part(size - cut, starts))
    return AxisTiles(0, Part(size, (0,) * count))


def _starts(count: int, cut: int, step: int, wanted: Sequence[tuple[Track, Part]]) -> tuple[int, ...] | None:
    starts = []
    for tile in range(count):
        start = _start(tile, cut, step, wanted)
        if start is None:
            return None
        starts.append(start)
    return tuple(starts)


def _start(tile: int, cut: int, step: int, wanted: Sequence[tuple[Track, Part]]) -> int | None:
    """Return where a window may start to hold, right, what one tile must bring of every map."""
    low, high = 0, cut
    for track, part in wanted:
        place, window = part.places[tile], track.window(cut)
        first = (place + part.length - window + track.bottom) * track.stride  # at least, or at the far border
        last = (place - track.top) * track.stride  # at most, or at the near border
        low = max(low, min(first, cut))
        high = min(high, max(last, 0))
    start = -(-low // step) * step
    return start if start <= high else None
