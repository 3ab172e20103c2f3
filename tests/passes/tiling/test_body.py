from __future__ import annotations

import copy

from sapool.passes.tiling.choose import FORMS
from sapool.tflite.file import pack
from tests.passes.tiling.networks import odd_sizes, tiled


def test_weights_are_stored_once() -> None:
    model = odd_sizes()
    size = len(pack(model))
    stored = {id(buffer) for buffer in model.buffers}
    for form in FORMS:
        changed = tiled(copy.deepcopy(model), form, 4, 4)
        large = [b for b in changed.buffers if b.data is not None and len(b.data) > 100 and id(b) not in stored]
        assert sum(len(b.data) for b in large) < size
