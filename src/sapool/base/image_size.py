"""The size of a network's input image: (C, H, W), from a side, a pair or a triple."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sapool.base.quoting import quote

InputSize = int | tuple[int, int, int]
COLOURS = 3
MOST_PIXELS = 4096  # a side: nothing larger runs on a micro-controller


def as_input_size(input_size: InputSize) -> tuple[int, int, int]:
    """Return (C, H, W) of an int (square, 3 channels) or a triple.

    Raises:
        ValueError: anything else, or a value out of 1 to 4,096.

    >>> as_input_size(64), as_input_size((1, 48, 64))
    ((3, 64, 64), (1, 48, 64))
    """
    size = (COLOURS, input_size, input_size) if isinstance(input_size, int) else tuple(input_size)
    if len(size) != 3 or not all(isinstance(n, int) and n >= 1 for n in size):
        said = quote(input_size)
        raise ValueError(f"input_size must be an int or (channels, height, width), each at least 1, got {said}")
    if max(size) > MOST_PIXELS:
        raise ValueError(f"each of input_size must be at most {MOST_PIXELS:,}, got {quote(input_size)}")
    return size[0], size[1], size[2]


def parse_input_size(text: str, option: str = "--input-size", channels: int = COLOURS) -> InputSize:
    """Read ``64`` (a square), ``48x64`` (height x width) or ``1x48x64`` (channels x height x width).

    A square of three channels comes back as its side alone.

    Args:
        text: what the user wrote.
        option: whose value it is.
        channels: of a size that names none.

    Raises:
        ValueError: another form, or a number out of 1 to 4,096.

    >>> parse_input_size("64"), parse_input_size("48x64"), parse_input_size("1x28x28")
    (64, (3, 48, 64), (1, 28, 28))
    """
    found = re.fullmatch(r"\d{1,6}(x\d{1,6}){0,2}", text.strip())
    numbers = [int(part) for part in found[0].split("x")] if found else []
    if not numbers or not all(1 <= n <= MOST_PIXELS for n in numbers):
        raise ValueError(
            f"{option} must be a side (64), HEIGHTxWIDTH (48x64) or CHANNELSxHEIGHTxWIDTH (1x48x64), each 1 to "
            f"{MOST_PIXELS:,}, got {text[:40]!r}"
        )
    numbers = numbers * 2 if len(numbers) == 1 else numbers
    size = (channels, *numbers) if len(numbers) == 2 else tuple(numbers)
    square = size[0] == COLOURS and size[1] == size[2]
    return size[1] if square else (size[0], size[1], size[2])


def size_slug(size: Sequence[int] | int) -> str:
    """Return a size for the name of a folder: ``64px``, ``48x64px``, ``1x48x64px``.

    >>> size_slug(64), size_slug((1, 48, 64))
    ('64px', '1x48x64px')
    """
    return size_text(size).replace(" ", "")


def size_text(size: Sequence[int] | int) -> str:
    """Return a size as people read it: ``64 px``, ``48 x 64 px``, ``1 x 48 x 64`` with the channels where not 3.

    >>> size_text(64), size_text((3, 48, 64)), size_text((1, 48, 64))
    ('64 px', '48 x 64 px', '1 x 48 x 64 px')
    """
    if isinstance(size, int):
        return f"{size} px"
    channels, height, width = size
    if channels != COLOURS:
        return f"{channels} x {height} x {width} px"
    return f"{height} px" if height == width else f"{height} x {width} px"
