from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from sapool.base.arena import ArenaSize, as_plain
from sapool.base.reading import build


@pytest.mark.parametrize("head", [0, 900, 1200, 5000])
@pytest.mark.parametrize("setup", [0, 1200])
def test_an_arena_holds_the_tail_and_whatever_is_larger_of_head_and_set_up(head: int, setup: int) -> None:
    size = ArenaSize(head, 500, setup)
    assert size.total_bytes == head + 500
    # From its meaning: both moments must have room, running (head) and planning (set-up).
    assert all(size.arena_bytes >= 500 + moment for moment in (head, setup))
    assert size.arena_bytes in (500 + head, 500 + setup)
    assert size.needs.ram_bytes == size.arena_bytes
    assert size.needs.flash_bytes is None


@dataclass(frozen=True)
class _Named(ArenaSize):
    name: str = ""


@dataclass(frozen=True)
class _Holder:
    steps: tuple[_Named, ...]
    by_name: dict[str, ArenaSize]


def test_sums_are_written_beside_their_parts_and_left_out_when_read() -> None:
    step = _Named(10, 5, 30, "first")
    held = json.loads(json.dumps(as_plain(_Holder((step,), {"a": ArenaSize(1, 2)}))))
    assert held["steps"] == [
        {"head_bytes": 10, "tail_bytes": 5, "setup_bytes": 30, "name": "first", "total_bytes": 15, "arena_bytes": 35}
    ]
    assert held["by_name"]["a"]["arena_bytes"] == 3
    assert build(_Named, held["steps"][0]) == step
    with pytest.raises(ValueError, match="unknown key 'what'"):
        build(_Named, {"what": 1})
