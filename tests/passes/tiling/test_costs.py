from __future__ import annotations

from sapool.passes.tiling.choose import FORMS
from sapool.tflite import count_macs
from tests.passes.tiling.networks import odd_sizes, tiled


def test_macs_of_a_loop_count_every_tile() -> None:
    model = odd_sizes()
    whole = count_macs(model)
    loop, unrolled = (count_macs(tiled(model, form, 3, 2)) for form in FORMS)
    assert loop == unrolled > whole
