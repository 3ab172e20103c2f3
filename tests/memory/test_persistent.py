from __future__ import annotations

import dataclasses

import pytest

from sapool.memory import tail_bytes
from sapool.memory.persistent import firmware_tail_bytes, setup_bytes, unknown_kinds
from sapool.memory.planners import aligned
from sapool.tflite import Graph, read_graph
from tests.graphs import make_operator, make_tensor, with_operators
from tests.memory.handmade import build
from tests.memory.single_operators import everything

GRAPHS = {name: read_graph(build(graph)) for name, graph in everything().items()}


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


def test_a_relu_on_32_bits_is_the_sum_of_its_pieces() -> None:
    """Added up by hand from the structs' fields, each rounded to its alignment; mcufit measures the same 2,492."""
    recording = 52 + 44 + 124
    room = 2240  # the list of resource variables ends at 240, 2,000 bytes of them behind it
    assert room == aligned(recording + 12) + 100 * 20
    to_here = room + 8 + 8 + 2 * 12 + 32
    data = aligned(to_here + 28)  # 2,352
    described = 40 + 12 + 8
    one = aligned(data + 4) + described
    assert tail_bytes(GRAPHS["RELU_int8"], pointer_bytes=4) == aligned(one + 4) + described == 2492


def test_a_relu_in_a_firmware_is_the_sum_of_its_pieces() -> None:
    runtime = 36 + 44 + 36 + 8 + 8
    data = aligned(runtime + 2 * 12 + 32 + 28)
    described = 40 + 12 + 8
    one = aligned(data + 4) + described
    assert firmware_tail_bytes(GRAPHS["RELU_int8"]) == aligned(one + 4) + described


def test_a_firmware_keeps_room_for_the_models_own_variables() -> None:
    graph = GRAPHS["RELU_int8"]
    handle = make_operator("VAR_HANDLE", (), (1,), {"sharedName": b"state"})
    runtime = aligned(aligned(36 + 44 + 36 + 12) + 20) + 8 + 8  # a list of 12 bytes and one variable of 20 among it
    data = aligned(aligned(runtime + 2 * 12 + 2 * 32 + 8 + 28) + 4)  # options and data of the VAR_HANDLE: 8 and 4
    described = 40 + 12 + 8
    one = aligned(data + 4) + described
    with_handle = with_operators(graph, *graph.operators, handle)
    assert firmware_tail_bytes(with_handle) == aligned(one + 4) + described


def test_a_right_side_that_must_be_turned_is_kept_turned() -> None:
    adjoint, plain = (tail_bytes(GRAPHS[f"bmm_int8_0{adj}"]) for adj in (1, 0))
    assert plain - adjoint == 32 + 16 + 128  # a tensor (24), its shape (16) and the copy (126), aligned


def test_channels_cost_a_multiplier_and_a_shift() -> None:
    def of(channels: int) -> int:
        tensors = (
            make_tensor("x", (1, 4, 4, 4)),
            make_tensor("w", (channels, 3, 3, 4), constant=True),
            make_tensor("y", (1, 4, 4, channels)),
        )
        return tail_bytes(Graph(tensors, (make_operator("CONV_2D", (0, 1), (2,)),), (0,), (2,)))

    assert of(32) - of(16) == 8 * 16


def test_planning_lists_every_tensor_once_more() -> None:
    def chain(length: int) -> Graph:
        tensors = tuple(make_tensor(f"t{i}", (1, 4)) for i in range(length + 1))
        operators = tuple(make_operator("RELU", (i,), (i + 1,)) for i in range(length))
        return Graph(tensors, operators, (0,), (length,))

    assert setup_bytes(chain(90)) - setup_bytes(chain(40)) == 50 * (32 + 40)
    # On a 32-bit core a buffer's life has two shorter words; a scratch buffer more is a request, too.
    assert setup_bytes(chain(90), 4) - setup_bytes(chain(40), 4) == 50 * (24 + 40)
    assert setup_bytes(chain(90), 4, more_scratch=3) - setup_bytes(chain(90), 4) == 3 * (12 + 24 + 40)


def test_another_pointer_is_refused() -> None:
    with pytest.raises(ValueError, match="pointer_bytes must be 4 or 8, got 2"):
        tail_bytes(GRAPHS["RELU_int8"], pointer_bytes=2)


def test_kinds_that_are_not_known_are_named() -> None:
    graph = GRAPHS["RELU_int8"]
    odd = with_operators(graph, dataclasses.replace(graph.operators[0], kind="CUSTOM_THING"))
    assert unknown_kinds(graph) == ()
    assert unknown_kinds(odd) == ("CUSTOM_THING",)
