"""Operators of constants become constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sapool.firmware.rows.fold import fold_constants
from tests.firmware.random_networks import Maker
from tests.firmware.rows.build import network, quantised

HELD = quantised(0.05, 3)
VALUES = np.arange(-12, 12, dtype=np.int8).reshape(2, 3, 4)


def folded(make: Maker, out: int) -> NDArray[Any] | None:
    return fold_constants(make.graph, "host").tensors[out].values


def test_transposes_and_reshapes() -> None:
    make, _ = network((1, 4, 4, 2))
    turned, flat = make.tensor((4, 2, 3), HELD), make.tensor((24,), HELD)
    order = make.constant(np.array([2, 0, 1], np.int32))
    make.add("TRANSPOSE", (make.constant(VALUES, HELD), order), (turned,))
    make.add("RESHAPE", (turned, make.constant(np.array([24], np.int32))), (flat,))
    graph = fold_constants(make.graph, "host")
    assert graph.operators == ()
    np.testing.assert_array_equal(graph.tensors[flat].values, VALUES.transpose(2, 0, 1).reshape(-1))
    assert len(make.graph.operators) == 2  # the given graph stays as it is


def test_padding_fills_with_the_zero_point() -> None:
    make, _ = network((1, 4, 4, 2))
    around = [(0, 1), (2, 0), (0, 0)]
    out = make.tensor((3, 5, 4), HELD)
    make.add("PAD", (make.constant(VALUES, HELD), make.constant(np.array(around, np.int32))), (out,))
    np.testing.assert_array_equal(folded(make, out), np.pad(VALUES, around, constant_values=3))


def test_concatenations() -> None:
    make, _ = network((1, 4, 4, 2))
    out = make.tensor((2, 6, 4), HELD)
    given = (make.constant(VALUES, HELD), make.constant(-VALUES, HELD))
    make.add("CONCATENATION", given, (out,), "ConcatenationOptions", axis=1)
    np.testing.assert_array_equal(folded(make, out), np.concatenate([VALUES, -VALUES], 1))


def test_functions() -> None:
    make, _ = network((1, 4, 4, 2))
    out = make.tensor((2, 3, 4), dtype="float32")
    make.add("DEQUANTIZE", (make.constant(VALUES, HELD),), (out,))
    values = folded(make, out)
    assert values is not None
    np.testing.assert_allclose(values, (VALUES.astype(float) - 3) * 0.05, rtol=1e-6)


@pytest.mark.parametrize("constant", [True, False])
def test_only_constants_are_folded(constant: bool) -> None:
    make, source = network((2, 3, 4))
    out = make.tensor((24,), HELD)
    make.add("RESHAPE", (make.constant(VALUES, HELD) if constant else source,), (out,))
    assert (folded(make, out) is not None) == constant
