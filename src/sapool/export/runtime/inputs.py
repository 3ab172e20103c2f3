"""What a ``.tflite`` takes and makes, however many of each, checked before anything of that size is made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sapool.base.quoting import quote
from sapool.tflite import Graph, Tensor, TfliteError, read_graph
from sapool.tflite.ends import check_number

MOST_TENSOR_BYTES = 256 << 20  # of one input or output, half of what the largest arena holds
# An integer input of 32 or 64 bits is often an index, which must be in range.
_INDICES = 2


def inputs_of(model: bytes | Graph) -> tuple[Tensor, ...]:
    """Return what a ``.tflite`` takes, in its own order; nothing, where it always computes the same.

    Raises:
        TfliteError: an input of a type that is no number, or of impossible size.
    """
    return _ports(model, "inputs")


def outputs_of(model: bytes | Graph) -> tuple[Tensor, ...]:
    """Return what a ``.tflite`` makes, in its own order.

    Raises:
        TfliteError: an output of a type that is no number, or of impossible size, or none.
    """
    found = _ports(model, "outputs")
    if not found:
        raise TfliteError("a model without outputs computes nothing")
    return found


def output_names(model: bytes | Graph) -> tuple[str, ...]:
    """Return the names of a file's outputs, in order; one that is empty or taken gets its place behind it."""
    graph = _graph(model)
    names: list[str] = []
    for place, tensor in enumerate(graph.outputs):
        name = graph.tensors[tensor].name
        names.append(name if name and name not in names else f"{name or 'output'};{place}")
    return tuple(names)


def _ports(model: bytes | Graph, which: str) -> tuple[Tensor, ...]:
    graph = _graph(model)
    found = []
    for place in graph.inputs if which == "inputs" else graph.outputs:
        info = check_number(graph.tensors[place])
        name = quote(info.name)
        if which == "inputs" and any(side < 0 for side in info.shape):
            raise TfliteError(f"{name}, one of the inputs, has a side under 0: {quote(info.shape)}")
        # An output's side may be unknown, for which its interpreter has words of its own.
        size = math.prod(max(1, side) for side in info.shape) * np.dtype(info.dtype).itemsize
        if size > MOST_TENSOR_BYTES:
            raise TfliteError(
                f"{name}, one of the {which}, is {quote(info.shape)} of {info.dtype}: {size:,} bytes, at most "
                f"{MOST_TENSOR_BYTES:,} are run"
            )
        found.append(info)
    return tuple(found)


def _graph(model: bytes | Graph) -> Graph:
    return model if isinstance(model, Graph) else read_graph(model, fixed=False)


def zero_inputs(model: bytes | Graph, runs: int = 1) -> tuple[NDArray[Any], ...]:
    """Return (runs, *shape) of zeros for every input."""
    return tuple(np.zeros((runs, *info.shape), info.dtype) for info in inputs_of(model))


def random_inputs(model: bytes | Graph, runs: int, seed: int = 0) -> tuple[NDArray[Any], ...]:
    """Return (runs, *shape) of noise for every input: the whole range of 8 and 16 bits, normal floats, else 0 or 1."""
    dice = np.random.default_rng(seed)
    made: list[NDArray[Any]] = []
    for info in inputs_of(model):
        shape = (runs, *info.shape)
        if info.dtype.startswith("float"):
            made.append(dice.standard_normal(shape).astype(info.dtype))
        elif info.dtype in ("int32", "int64", "uint32", "bool"):
            made.append(dice.integers(0, _INDICES, shape).astype(info.dtype))
        else:
            limits = np.iinfo(info.dtype)
            made.append(dice.integers(limits.min, limits.max, shape, info.dtype, endpoint=True))
    return tuple(made)


def one_image_a_run(info: Tensor, images: NDArray[Any]) -> NDArray[Any]:
    """Return (N, H, W, C) as (N, *shape) for an input of that shape, whose first side, if it is a batch, is of one.

    Raises:
        TfliteError: an image has another number of values than the input takes.
    """
    if images.size != len(images) * math.prod(info.shape):
        raise TfliteError(f"it takes {quote(info.shape)} at once, got images of {quote(images.shape[1:])}")
    return images.reshape(len(images), *info.shape)


def without_batch(outputs: NDArray[Any]) -> NDArray[Any]:
    """Return (N, 1, ...) as (N, ...): a model makes batches of one."""
    return outputs[:, 0] if outputs.ndim > 1 and outputs.shape[1] == 1 else outputs


def run_count(inputs: Sequence[NDArray[Any]]) -> int:
    """Return how many runs inputs are for; 1 where there are none, for a model that always computes the same."""
    return len(inputs[0]) if inputs else 1
