from __future__ import annotations

import pytest
import torch

from sapool.layers import LearnedPosition2d, TokenAttention
from sapool.layers.attention import embedding_width


def test_keys_are_capped_only_above_the_cap() -> None:
    torch.manual_seed(0)
    attention = TokenAttention(8, 2, max_keys=16)
    small, large = torch.randn(2, 8, 4, 4), torch.randn(2, 8, 7, 9)
    assert attention.cap_keys(small) is small
    capped = attention.cap_keys(large)
    assert capped.shape[2] * capped.shape[3] <= 16
    torch.testing.assert_close(capped[:, :, 0, 0], large[:, :, :3, :3].mean((2, 3)))
    # The last window holds what is left over, and zeros around the map are not counted.
    torch.testing.assert_close(capped[:, :, -1, -1], large[:, :, 6:, 6:].mean((2, 3)))
    assert attention(large).shape == large.shape


@pytest.mark.parametrize("size", [(1, 600), (600, 1), (2, 300), (33, 17), (64, 64)])
def test_the_cap_holds_for_every_map(size: tuple[int, int]) -> None:
    keys = TokenAttention(4, 1, max_keys=256).cap_keys(torch.randn(1, 4, *size))
    assert keys.shape[2] * keys.shape[3] <= 256


@pytest.mark.parametrize(
    ("channels", "heads", "ratio", "width"),
    [
        (96, 64, 1.0, 128),
        (160, 64, 1.0, 128),
        (320, 128, 1.0, 256),
        (40, 16, 1.0, 32),
        (17, 1, 1.0, 17),
        (2, 8, 0.25, 8),
    ],
)
def test_embedding_width_rounds_as_the_authors_do(channels: int, heads: int, ratio: float, width: int) -> None:
    assert embedding_width(channels, heads, ratio) == width


def test_position_tables_stretch_over_longer_maps_end_to_end() -> None:
    position = LearnedPosition2d(4, length=3)
    found = position(5, 3)
    torch.testing.assert_close(found[0, 2:, 0, 0], position.row[0])
    torch.testing.assert_close(found[0, 2:, 2, 0], position.row[1])
    torch.testing.assert_close(found[0, 2:, 1, 0], (position.row[0] + position.row[1]) / 2)
    torch.testing.assert_close(found[0, :2, 0, 2], position.column[2])
