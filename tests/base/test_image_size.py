from __future__ import annotations

import pytest

from sapool.base.image_size import parse_input_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64", 64),
        ("64x64", 64),
        ("3x64x64", 64),
        (" 48x64 ", (3, 48, 64)),
        ("1x28x28", (1, 28, 28)),
        ("4x8x9", (4, 8, 9)),
    ],
)
def test_every_form(text: str, size: object) -> None:
    assert parse_input_size(text) == size


def test_a_network_may_want_other_channels() -> None:
    assert parse_input_size("32", channels=1) == (1, 32, 32)


@pytest.mark.parametrize("text", ["", "0", "x", "64x", "1x2x3x4", "-5", "6.5", "1000000", "4097", "64px", "9" * 400])
def test_anything_else_is_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"--input-size must be a side \(64\), HEIGHTxWIDTH") as caught:
        parse_input_size(text)
    assert len(str(caught.value)) < 200
