from __future__ import annotations

from sapool.pruning.costs import count_macs
from tests.pruning.networks import Hourglass


def test_macs_are_counted_by_hand() -> None:
    wide, narrow = 32 * 32 * 32 * 3 * 9, 8 * 8 * 32 * 32 * 9
    deep = 4 * 4 * 256 * 32 * 9 + 4 * 4 * 256 * 256 * 9
    assert count_macs(Hourglass(), (3, 64, 64)) == wide + narrow + deep + 256 * 10
