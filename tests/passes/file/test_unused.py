from __future__ import annotations

import numpy as np

from tests.memory.handmade import Graph, Op, Tensor, weights
from tests.passes.file.tidying import tidied
from tests.passes.running import run_tflm


def test_equal_constants_are_stored_once_and_unused_tensors_go() -> None:
    shape = (1, 2, 2, 3)
    graph = Graph(
        [Tensor(shape), weights(*shape), weights(*shape), Tensor(shape), Tensor(shape), Tensor((1, 500))],
        [Op("ADD", [0, 1], [3], ("AddOptions", {})), Op("ADD", [3, 2], [4], ("AddOptions", {}))],
        [0],
        [4],
    )
    before, after, changed = tidied(graph)
    assert changed == 3  # one constant shared; it and the unused tensor left out
    assert len(after.subgraphs[0].tensors) == 4
    assert len(after.buffers) == 2
    (expected, arena), (got, smaller) = run_tflm(before), run_tflm(after)
    np.testing.assert_array_equal(got, expected)
    assert smaller.head_bytes < arena.head_bytes  # the runtime gives even the unused one room
    assert smaller.tail_bytes < arena.tail_bytes
