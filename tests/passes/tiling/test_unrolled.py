from __future__ import annotations

from collections import Counter

from sapool.base.tflm_limits import MOST_JOINED
from sapool.tflite.file import operator_names
from tests.passes.tiling.networks import tiled
from tests.passes.tiling.small_files import SmallFile


def test_many_tiles_are_joined_ten_at_a_time() -> None:
    f = SmallFile(46, 30)
    model = tiled(f.finish(f.conv(f.input, 4, 3)), "unrolled", 23, 15)
    names, operators = operator_names(model), model.subgraphs[0].operators
    joins = [len(op.inputs) for name, op in zip(names, operators, strict=True) if name == "CONCATENATION"]
    assert max(joins) == MOST_JOINED
    assert min(joins) > 1
    assert Counter(names)["CONV_2D"] == 23 * 15
