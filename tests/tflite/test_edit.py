from __future__ import annotations

from collections.abc import Callable

import pytest

from sapool.tflite import Graph
from sapool.tflite.edit import as_reshape, has_state, is_plain, make_operator, may_rewrite, repeat, shorten_names
from tests.graphs import make_tensor


def chain(module: str = "") -> Graph:
    """x -SQUEEZE-> y -RELU-> z, and a tensor that nothing reads."""
    sides = ((1, 1, 4), (1, 4), (1, 4), (2,))
    tensors = [make_tensor(name, shape) for name, shape in zip("xyzv", sides, strict=True)]
    graph = Graph(tensors, inputs=[0], outputs=[2])
    graph.set_operators([make_operator("SQUEEZE", [0], [1]), make_operator("RELU", [1], [2])])
    if module:
        graph.change_operator(0, module=module)
    return graph


def inside(change: Callable[[Graph], object]) -> Graph:
    """The change in a graph that the main one runs."""
    graph, inner = chain(), chain()
    change(inner)
    graph.subgraphs.append(inner)
    return graph


def varied(graph: Graph) -> Graph:
    graph.change_tensor(3, variable=True)
    return graph


@pytest.mark.parametrize("kind", ["VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"])
def test_operators_on_variables_are_state(kind: str) -> None:
    graph = inside(lambda one: one.change_operator(1, kind=kind))
    assert has_state(graph)
    assert not is_plain(graph)


def test_a_variable_tensor_is_state_in_any_graph() -> None:
    assert has_state(varied(chain()))
    assert has_state(inside(varied))
    assert not has_state(chain())


def test_a_planned_graph_is_not_plain_and_may_not_be_rewritten() -> None:
    graph = chain()
    assert is_plain(graph)
    assert may_rewrite(graph)
    graph.set_offline([-1] * 4)
    assert not is_plain(graph)
    assert not may_rewrite(graph)


def test_state_of_one_reader_may_stay_where_it_is() -> None:
    graph = varied(chain())
    graph.change_operator(0, inputs=(0, 3))
    assert may_rewrite(graph)
    graph.change_operator(1, inputs=(1, 3))
    assert not may_rewrite(graph)
    graph = varied(chain())
    graph.set_outputs([2, 3])
    assert not may_rewrite(graph)


def test_a_made_operator_has_its_kinds_table() -> None:
    made = make_operator("CONV_2D", [0, 1], [2], 3, strideH=2)
    assert (made.options.table, made.options.integer("strideH"), made.version) == ("Conv2DOptions", 2, 3)


def test_a_reshape_takes_the_outputs_shape_and_the_operators_module() -> None:
    graph = chain("body.0")
    made = as_reshape(graph, graph.operators[0])
    assert (made.kind, made.inputs, made.outputs, made.module) == ("RESHAPE", (0,), (1,), "body.0")
    assert made.options.integers("newShape") == (1, 4)


def test_names_are_shortened_in_every_graph() -> None:
    long = "net.Net/torch.nn.modules.container.Sequential_stem/torch.nn.modules.conv.Conv2d_0;17"
    graph = inside(lambda one: one.change_tensor(1, name=long))
    graph.change_tensor(0, name=long)
    shorten_names(graph)
    assert [[tensor.name for tensor in one.tensors] for one in graph.graphs] == [
        ["stem.0;17", "y", "z", "v"],
        ["x", "stem.0;17", "z", "v"],
    ]


def test_a_step_is_repeated_until_it_changes_nothing() -> None:
    left = [3, 2, 0, 5]
    assert repeat(lambda: left.pop(0)) == 5
    assert left == [5]
