from __future__ import annotations

from sapool.passes.tiling.choose import FORMS
from sapool.tflite.file import count_macs, pack
from tests.passes.tiling.networks import odd_sizes, tiled


def test_macs_of_a_loop_count_every_tile() -> None:
    model = odd_sizes()
    whole = count_macs(pack(model))
    loop, unrolled = (count_macs(pack(tiled(model, form, 3, 2))) for form in FORMS)
    assert loop == unrolled > whole
