from __future__ import annotations

import numpy as np

from sapool.base.tflm_limits import MOST_JOINED, MOST_KEYS


def test_equal_keys_keep_a_weight_up_to_the_limit_and_lose_it_behind() -> None:
    """An int8 soft-max has the scale 1/256 and the zero point -128: n equal keys are 1/n each."""

    def written(keys: int) -> float:
        return float(np.floor(256 / keys))

    assert written(MOST_KEYS) == 1
    assert written(MOST_KEYS + 1) == 0


def test_the_kernel_joins_ten_inputs() -> None:
    assert MOST_JOINED == 10  # kMaxInputNum of TFLM's concatenation.cc
