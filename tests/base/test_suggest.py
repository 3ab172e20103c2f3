from __future__ import annotations

import pytest

from sapool.base.suggest import suggest


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("magnitud", ("magnitude", "taylor"), "did you mean magnitude?"),
        ("mix", ("mixed", "mixes", "zebra"), "did you mean mixes or mixed?"),
        ("zzz", ("average", "max"), "choose from average, max"),
        ("zzz", tuple(map(str, range(31))), "there is none of that name"),
    ],
)
def test_the_nearest_names_or_all_of_a_few(name: str, known: tuple[str, ...], said: str) -> None:
    assert suggest(name, known) == said
