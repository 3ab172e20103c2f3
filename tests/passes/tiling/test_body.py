from __future__ import annotations

from sapool.passes.tiling.choose import FORMS
from sapool.tflite import write_graph
from tests.passes.tiling.networks import odd_sizes, tiled


def test_weights_are_stored_once() -> None:
    model = odd_sizes()
    size = len(write_graph(model))
    stored = {id(tensor.constant) for tensor in model.tensors}
    for form in FORMS:
        changed = tiled(model.copy(), form, 4, 4)
        constants = {id(t.constant): t.constant for graph in changed.graphs for t in graph.tensors if t.constant}
        added = sum(len(one.raw) for key, one in constants.items() if key not in stored)
        assert added < size
