from __future__ import annotations

import numpy as np
import pytest

from tests.passes.file.tidying import rows, tidied
from tests.passes.running import kinds_of, run_tflm


@pytest.mark.parametrize(("exit_shape", "left"), [((1, 2, 3, 4), 0), ((1, 24), 1)])
def test_reshapes_around_operators_on_rows_go(exit_shape: tuple[int, ...], left: int) -> None:
    before, after, _ = tidied(rows(exit_shape))
    assert kinds_of(after)["RESHAPE"] == left
    np.testing.assert_array_equal(run_tflm(after)[0], run_tflm(before)[0])
