"""Networks of one operator, and what their only step becomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.firmware.rows import Blob, Layer, Program, Read, Step, lower
from sapool.tflite.graph import Quantization
from sapool.tflite.options import OptionValue
from tests.firmware.random_networks import Maker


def quantised(scale: float, zero: int = 0) -> Quantization:
    """Return one scale (as float32 holds it) and one zero point."""
    return Quantization((float(np.float32(scale)),), (zero,))


def network(
    shape: Sequence[int], scale: float = 0.05, zero: int = 0, seed: int = 0, dtype: str = "int8"
) -> tuple[Maker, int]:
    """Return a graph that has an input only, and the input."""
    make = Maker(seed)
    source = make.tensor(shape, quantised(scale, zero), dtype)
    make.graph.set_inputs([source])
    return make, source


def steps_of(make: Maker, *outputs: int) -> Program:
    """Return a network's steps."""
    make.graph.set_outputs(outputs)
    return lower(make.graph)


def one_step(
    make: Maker,
    kind: str,
    inputs: Sequence[int],
    out: int,
    table: str = "",
    **values: OptionValue,
) -> Step:
    """Return the only step of a network that ends with an operator."""
    make.add(kind, inputs, (out,), table, **values)
    (step,) = steps_of(make, out).steps
    return step


def arrays(layer: Layer) -> list[NDArray[Any]]:
    """Return a layer's arrays, in order."""
    return [field.values for field in layer.fields if isinstance(field, Blob)]


def integers(layer: Layer) -> list[int]:
    """Return a layer's numbers, in order."""
    return [field for field in layer.fields if isinstance(field, int)]


def rows_read(read: Read) -> list[tuple[int, int]]:
    """Return (low, high) of every task."""
    return list(zip(read.low, read.high, strict=True))


def spans(wanted: Sequence[set[int]]) -> list[tuple[int, int]]:
    """Return (low, high) of sets of rows; (0, 0) of an empty one."""
    return [(min(rows), max(rows) + 1) if rows else (0, 0) for rows in wanted]
