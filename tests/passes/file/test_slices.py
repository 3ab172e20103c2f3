from __future__ import annotations

import numpy as np
import pytest

from tests.memory.handmade import Graph, Op, Tensor, constant
from tests.passes.file.tidying import tidied
from tests.passes.running import kinds_of, run_tflm


def slices(begins: list[int]) -> Graph:
    """LOGISTIC of (1, 6, 4), a SLICE of two rows from each begin, and their CONCATENATION."""
    soft = {"scales": (1 / 256,), "zero": -128}
    tensors = [Tensor((1, 6, 4)), Tensor((1, 6, 4), **soft), constant([1, 2, 4])]  # type: ignore[arg-type]
    ops, parts = [Op("LOGISTIC", [0], [1])], []
    for begin in begins:
        tensors += [constant([0, begin, 0]), Tensor((1, 2, 4), **soft)]  # type: ignore[arg-type]
        parts.append(len(tensors) - 1)
        ops.append(Op("SLICE", [1, len(tensors) - 2, 2], [parts[-1]]))
    tensors.append(Tensor((1, 2 * len(begins), 4), **soft))  # type: ignore[arg-type]
    ops.append(Op("CONCATENATION", parts, [len(tensors) - 1], ("ConcatenationOptions", {"axis": 1})))
    return Graph(tensors, ops, [0], [len(tensors) - 1])


@pytest.mark.parametrize(("begins", "splits"), [([4, 0, 2], 1), ([0, 2], 0), ([0, 2, 2], 0), ([0, 1, 4], 0)])
def test_slices_that_are_the_whole_become_one_split(begins: list[int], splits: int) -> None:
    before, after, _ = tidied(slices(begins))
    assert kinds_of(after)["SPLIT"] == splits
    np.testing.assert_array_equal(run_tflm(after)[0], run_tflm(before)[0])
