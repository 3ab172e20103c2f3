from __future__ import annotations

import pytest

from sapool.tflite import Graph, Tensor, TfliteError
from sapool.tflite.ends import check_number, input_output
from tests.graphs import make_operator, make_tensor


def between(taken: str = "int8", made: str = "float32") -> Graph:
    tensors = [make_tensor("x", (1, 4), taken), make_tensor("y", (1, 3), made), make_tensor("z", (1,))]
    return Graph(tensors, [make_operator("RELU", [0], [1])], [0], [1])


def test_the_ends_are_the_two_that_the_graph_names() -> None:
    taken, made = input_output(between())
    assert (taken.name, taken.dtype) == ("x", "int8")
    assert (made.name, made.shape) == ("y", (1, 3))


def test_several_ends_are_counted() -> None:
    graph = between()
    graph.set_outputs([1, 2])
    with pytest.raises(TfliteError, match="one input and one output, got 1 and 2"):
        input_output(graph)


@pytest.mark.parametrize(("taken", "made"), [("resource", "int8"), ("int8", "complex64")])
def test_ends_are_numbers(taken: str, made: str) -> None:
    with pytest.raises(
        TfliteError, match=r"inputs and outputs must be of type float32, int8, .*, got (resource|complex64)"
    ):
        input_output(between(taken, made))


def test_a_bool_counts_as_a_number() -> None:
    truth = Tensor("truth", (1,), "bool")
    assert check_number(truth) is truth
