"""Graphs made tensor by tensor, as the tests of memory want them: quantised unless they say otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sapool.tflite import Constant, Graph, Operator, Options, Quantization, Tensor
from sapool.tflite.options import OptionValue


def make_tensor(
    name: str,
    shape: tuple[int, ...],
    dtype: str = "int8",
    *,
    constant: bool = False,
    channels: int = 1,
    variable: bool = False,
) -> Tensor:
    """A tensor with ``channels`` scales; a constant holds zeros."""
    quantization = Quantization((1.0,) * channels, (0,) * channels) if channels else None
    held = Constant(lambda: np.zeros(shape, dtype)) if constant else None
    return Tensor(name, shape, dtype, quantization, held, variable)


def make_operator(
    kind: str,
    inputs: Sequence[int],
    outputs: Sequence[int],
    options: Mapping[str, OptionValue] | None = None,
    module: str = "",
) -> Operator:
    return Operator(kind, tuple(inputs), tuple(outputs), Options.of(kind, **(options or {})), module=module)


def with_operators(graph: Graph, *operators: Operator) -> Graph:
    """A copy with other operators."""
    copied = graph.copy()
    copied.set_operators(operators)
    return copied


def with_plan(graph: Graph, offsets: Sequence[int] | None) -> Graph:
    """A copy with another memory plan."""
    copied = graph.copy()
    copied.set_offline(offsets)
    return copied
