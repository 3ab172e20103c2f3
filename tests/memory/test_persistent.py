from __future__ import annotations

import dataclasses

import pytest

from sapool.memory import ArenaGraph, ArenaOperator, ArenaTensor, read_arena_graph, tail_bytes
from sapool.memory.persistent import setup_bytes, unknown_kinds
from tests.memory.control_flow import control_flow
from tests.memory.handmade import build
from tests.memory.single_operators import everything

GRAPHS = {name: read_arena_graph(build(graph)) for name, graph in everything().items()}


def test_a_relu_keeps_the_sum_of_its_pieces() -> None:
    """Added up by hand from the sizes that the debugger showed, each rounded down to its alignment."""
    runtime = 104 + 72 + 272 + 16 + 24
    tensors, nodes = 2 * 24, 64
    to_here = runtime + tensors + nodes  # 600
    data = to_here + 28 + 12  # 640: the kernel's 28 bytes end at a multiple of 16
    described = 64 + 24 + 8  # TfLiteTensor and its quantisation
    one = data + 16 + described  # the list of inputs is one pointer, aligned to 16
    two = one + 16 + described
    assert tail_bytes(GRAPHS["RELU_int8"]) == two


@pytest.mark.parametrize("name", ["conv_int8_6", "bmm_int8_00", "SVDF_int8"])
def test_a_32_bit_tail_is_12_bytes_less_a_tensor_and_32_an_operator(name: str) -> None:
    graph = GRAPHS[name]
    assert tail_bytes(graph) - tail_bytes(graph, pointer_bytes=4) == 12 * len(graph.tensors) + 32


def test_the_tensors_and_operators_of_every_graph_count() -> None:
    graph = read_arena_graph(build(*control_flow()["while"]))
    assert tail_bytes(graph) - tail_bytes(graph, 4) == 12 * (6 + 4 + 6) + 32 * (3 + 1 + 3)


def test_a_right_side_that_must_be_turned_is_kept_turned() -> None:
    adjoint, plain = (tail_bytes(GRAPHS[f"bmm_int8_0{adj}"]) for adj in (1, 0))
    assert plain - adjoint == 32 + 16 + 128  # a tensor (24), its shape (16) and the copy (126), aligned


def test_channels_cost_a_multiplier_and_a_shift() -> None:
    def of(channels: int) -> int:
        tensors = (
            ArenaTensor("x", (1, 4, 4, 4)),
            ArenaTensor("w", (channels, 3, 3, 4), constant=True),
            ArenaTensor("y", (1, 4, 4, channels)),
        )
        return tail_bytes(ArenaGraph(tensors, (ArenaOperator("CONV_2D", (0, 1), (2,)),), (0,), (2,)))

    assert of(32) - of(16) == 8 * 16


def test_planning_lists_every_tensor_once_more() -> None:
    def chain(length: int) -> ArenaGraph:
        tensors = tuple(ArenaTensor(f"t{i}", (1, 4)) for i in range(length + 1))
        operators = tuple(ArenaOperator("RELU", (i,), (i + 1,)) for i in range(length))
        return ArenaGraph(tensors, operators, (0,), (length,))

    assert setup_bytes(chain(90)) - setup_bytes(chain(40)) == 50 * (32 + 40)


def test_another_pointer_is_refused() -> None:
    with pytest.raises(ValueError, match="pointer_bytes must be 4 or 8, got 2"):
        tail_bytes(GRAPHS["RELU_int8"], pointer_bytes=2)


def test_kinds_that_are_not_known_are_named() -> None:
    graph = GRAPHS["RELU_int8"]
    odd = dataclasses.replace(graph, operators=(dataclasses.replace(graph.operators[0], kind="CUSTOM_THING"),))
    assert unknown_kinds(graph) == ()
    assert unknown_kinds(odd) == ("CUSTOM_THING",)
