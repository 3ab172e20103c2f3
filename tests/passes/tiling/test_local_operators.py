from __future__ import annotations

import numpy as np

from tests.passes.tiling.networks import longest
from tests.passes.tiling.small_files import SmallFile, quantized


def test_what_is_not_local_is_not_tiled() -> None:
    """Constants over the whole map, TRANSPOSE and operators behind them stay out."""
    f = SmallFile(16, 16)
    x = f.conv(f.input, 4, 3)
    position = np.zeros((1, 16, 16, 4), np.int8)
    constant = f.constant(position, quantized(0.02))
    added = f.add("ADD", [x, constant], f.like(x, (1, 16, 16, 4)))
    model = f.finish(f.conv(added, 4, 3))
    assert [one.place for one in longest(model).operators] == [0]
