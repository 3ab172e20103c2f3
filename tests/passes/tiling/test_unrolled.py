from __future__ import annotations

from sapool.base.tflm_limits import MOST_JOINED
from tests.passes.tiling.networks import tiled
from tests.passes.tiling.small_files import SmallFile


def test_many_tiles_are_joined_ten_at_a_time() -> None:
    f = SmallFile(46, 30)
    model = tiled(f.finish(f.conv(f.input, 4, 3)), "unrolled", 23, 15)
    joins = [len(op.inputs) for _, op in model.of_kind("CONCATENATION")]
    assert max(joins) == MOST_JOINED
    assert min(joins) > 1
    assert model.kinds()["CONV_2D"] == 23 * 15
