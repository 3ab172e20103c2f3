"""What goes into a model and comes out of it."""

from __future__ import annotations

from sapool.tflite.errors import TfliteError
from sapool.tflite.graph import Graph
from sapool.tflite.tensor import Tensor

NUMBERS = ("float32", "int8", "uint8", "int16", "int32", "int64", "bool")


def input_output(graph: Graph) -> tuple[Tensor, Tensor]:
    """Return the input and the output of a model that has one of each.

    Raises:
        TfliteError: it has several, or of a type that is no number.
    """
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise TfliteError(
            f"a model must have one input and one output, got {len(graph.inputs)} and {len(graph.outputs)}"
        )
    return check_number(graph.tensors[graph.inputs[0]]), check_number(graph.tensors[graph.outputs[0]])


def check_number(tensor: Tensor) -> Tensor:
    """Return an input or output of a model.

    Raises:
        TfliteError: it is of a type that is no number.
    """
    if tensor.dtype not in NUMBERS:
        raise TfliteError(f"inputs and outputs must be of type {', '.join(NUMBERS)}, got {tensor.dtype}")
    return tensor
