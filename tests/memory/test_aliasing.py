from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from sapool import tflite
from sapool.export.runtime.inputs import random_inputs
from sapool.export.runtime.interpreters import run_model
from sapool.memory.aliasing import IN_PLACE, VIEWS, clusters_of
from sapool.memory.arena_plan import plan_arena
from sapool.memory.lifetimes import buffers_of
from sapool.memory.offline import best_offsets
from tests.graphs import make_operator, make_tensor
from tests.memory.handmade import Graph, Op, Tensor, build, constant
from tests.memory.simulated import Machine, random_graph

MAP = (1, 4, 4, 8)
BYTES = 128


def chain(*steps: tuple[str, Sequence[int], tuple[int, ...]]) -> tflite.Graph:
    """Tensor 0 is the input, tensor i the output of step i; the last is the result."""
    tensors = [make_tensor("x", MAP), *(make_tensor(kind, shape) for kind, _, shape in steps)]
    operators = [make_operator(kind, tuple(inputs), (i + 1,)) for i, (kind, inputs, _) in enumerate(steps)]
    return tflite.Graph(tuple(tensors), tuple(operators), (0,), (len(steps),))


def together(graph: tflite.Graph, **choice: bool) -> list[dict[int, int]]:
    """Return tensor -> offset, a cluster each."""
    buffers = buffers_of(graph)
    return [{buffers[i].tensor: at for i, at in cluster} for cluster in clusters_of(graph, buffers, **choice)]


@pytest.mark.parametrize("seed", range(150))
def test_no_reader_finds_a_byte_that_somebody_else_wrote(seed: int) -> None:
    graph = random_graph(seed)
    buffers = buffers_of(graph)
    for joined in (False, True):
        for last_operand in (False, True):
            clusters = clusters_of(graph, buffers, joined=joined, last_operand=last_operand)
            Machine(graph, best_offsets(buffers, clusters, steps=20)).run()


def test_random_graphs_do_share() -> None:
    shared = [len(clusters_of(graph, buffers_of(graph))) for graph in map(random_graph, range(150))]
    assert sum(count > 0 for count in shared) > 100


def test_the_machine_notices_an_overwritten_input() -> None:
    graph = chain(("CONV_2D", (0,), MAP), ("CONV_2D", (1,), MAP))
    with pytest.raises(AssertionError):
        Machine(graph, [0, 64, 256]).run()


def test_an_element_wise_operator_writes_over_an_input_that_dies() -> None:
    graph = chain(("CONV_2D", (0,), MAP), ("RELU", (1,), MAP), ("CONV_2D", (2,), MAP))
    assert together(graph) == [{1: 0, 2: 0}]


def test_an_input_that_is_read_later_is_left_alone() -> None:
    graph = chain(("CONV_2D", (0,), MAP), ("RELU", (1,), MAP), ("CONV_2D", (2,), MAP), ("ADD", (1, 3), MAP))
    assert together(graph) == [{1: 0, 4: 0}]
    assert together(graph, last_operand=True) == [{3: 0, 4: 0}]


def test_a_broadcast_operand_is_not_written_over() -> None:
    graph = chain(("MEAN", (0,), (1, 1, 1, 8)), ("MUL", (1, 0), MAP))
    assert together(graph) == [{0: 0, 2: 0}]


def test_a_view_shares_bytes_with_an_input_that_lives_on() -> None:
    flat = (1, BYTES)
    graph = chain(("RESHAPE", (0,), flat), ("FULLY_CONNECTED", (1,), flat), ("CONCATENATION", (0, 0), (1, 4, 4, 16)))
    assert together(graph) == [{0: 0, 1: 0}]


def test_a_view_of_what_lives_on_is_not_written_over() -> None:
    flat = (1, BYTES)
    graph = chain(("RESHAPE", (0,), flat), ("LOGISTIC", (1,), flat), ("RESHAPE", (2,), MAP), ("ADD", (3, 0), MAP))
    # 0 and 1 are the same bytes until the sum, which may then go where either operand is.
    assert together(graph) == [{0: 0, 1: 0, 4: 0}, {2: 0, 3: 0}] or together(graph) == [
        {0: 0, 1: 0},
        {2: 0, 3: 0, 4: 0},
    ]


def test_other_widths_and_constants_are_not_written_over() -> None:
    tensors = (make_tensor("x", MAP), make_tensor("wide", MAP, "int16"), make_tensor("c", MAP, "int16", constant=True))
    made = make_tensor("y", MAP, "int16")
    graph = tflite.Graph(
        (*tensors, made),
        (make_operator("QUANTIZE", (0,), (1,)), make_operator("ADD", (2, 1), (3,))),
        (0,),
        (3,),
    )
    assert together(graph) == [{1: 0, 3: 0}]


def test_parts_are_made_where_they_are_joined() -> None:
    half = (1, 2, 4, 8)
    graph = chain(("CONV_2D", (0,), half), ("CONV_2D", (0,), half), ("CONCATENATION", (1, 2), MAP))
    assert together(graph) == [{1: 0, 2: 64, 3: 0}]
    assert together(graph, joined=False) == []


@pytest.mark.parametrize(
    ("part", "whole"),
    [((1, 4, 4, 4), (1, 4, 4, 8)), ((1, 1, 1, 8), (1, 1, 1, 16)), ((2, 8), (2, 16))],
    ids=["rows in between", "not aligned", "two rows"],
)
def test_parts_that_do_not_lie_in_one_piece_are_joined_by_copying(
    part: tuple[int, ...], whole: tuple[int, ...]
) -> None:
    graph = chain(("CONV_2D", (0,), part), ("CONV_2D", (0,), part), ("CONCATENATION", (1, 2), whole))
    assert all(2 not in cluster for cluster in together(graph))


def test_what_is_joined_twice_is_in_place_once() -> None:
    half = (1, 2, 4, 8)
    steps = [("CONV_2D", (0,), half)] * 3
    graph = chain(*steps, ("CONCATENATION", (1, 2), MAP), ("CONCATENATION", (1, 3), MAP), ("ADD", (4, 5), MAP))
    assert together(graph)[0] == {1: 0, 2: 64, 4: 0, 6: 0}
    assert all(5 not in cluster or 1 not in cluster for cluster in together(graph))


OPERATORS = [
    *((kind, (), "") for kind in ("RELU", "RELU6", "LOGISTIC", "TANH", "HARD_SWISH", "QUANTIZE")),
    ("LEAKY_RELU", (), "LeakyReluOptions"),
    ("SOFTMAX", (), "SoftmaxOptions"),
    *((kind, (shape,), f"{kind.title()}Options") for kind in ("ADD", "MUL", "SUB") for shape in (MAP, (1, 1, 1, 8))),
    ("RESHAPE", (), ""),
    ("SQUEEZE", (), "SqueezeOptions"),
    ("EXPAND_DIMS", (), "ExpandDimsOptions"),
]


def quantised(kind: str) -> Tensor:
    """The output that an operator asks for: LOGISTIC, TANH and SOFTMAX have a fixed scale."""
    scale, zero = {"LOGISTIC": (1 / 256, -128), "SOFTMAX": (1 / 256, -128), "TANH": (1 / 128, 0)}.get(kind, (0.4, 3))
    shape = {"SQUEEZE": MAP[1:], "EXPAND_DIMS": (1, *MAP)}.get(kind, MAP)
    return Tensor(shape, scales=(scale,), zero=zero)


def every_operator(shared: bool) -> bytes:
    """A QUANTIZE and one operator behind it, for each of them; the output goes where its first input is if shared."""
    tensors: list[Tensor] = []
    ops: list[Op] = []
    offsets: list[int] = []
    fed: list[int] = []
    made: list[int] = []
    for kind, others, options in OPERATORS:
        at, room = len(tensors), 4 * BYTES * len(made)
        copies = kind in (*VIEWS, "RELU6")
        extra = [Tensor(shape, scales=(0.3,)) for shape in others]
        extra += [constant(np.array(1))] if kind == "EXPAND_DIMS" else []
        first = Tensor(MAP, scales=(0.4 if copies else 0.5,), zero=3 if copies else -7)
        tensors += [Tensor(MAP, scales=(0.5,)), first, *extra, quantised(kind)]
        last = len(tensors) - 1
        offsets += [room, room + BYTES, *(room + 2 * BYTES for _ in extra), room + (1 if shared else 3) * BYTES]
        values = {"SOFTMAX": {"beta": 1.0}, "LEAKY_RELU": {"alpha": 0.1}}.get(kind, {})
        ops += [
            Op("QUANTIZE", [at], [at + 1]),
            Op(kind, range(at + 1, last), [last], (options, values) if options else None),
        ]
        fed += [at, *(at + 2 + i for i in range(len(others)))]
        made.append(last)
    return build(Graph(tensors, ops, fed, made), offline=offsets)


def test_every_kind_that_shares_is_tried_on_the_interpreter() -> None:
    assert {kind for kind, _, _ in OPERATORS} == {*IN_PLACE, *VIEWS}


def test_the_interpreters_kernels_may_write_over_their_inputs() -> None:
    apart, shared = every_operator(shared=False), every_operator(shared=True)
    inputs = random_inputs(apart, 8)
    expected, got = run_model("apart", apart, inputs), run_model("shared", shared, inputs)
    assert got.head_bytes == expected.head_bytes - 2 * BYTES
    for (kind, _, _), one, other in zip(OPERATORS, expected.outputs, got.outputs, strict=True):
        assert len(np.unique(one)) > 8, kind
        np.testing.assert_array_equal(one, other, err_msg=kind)


def test_a_result_that_the_last_operator_reads_is_still_there_at_the_end() -> None:
    graph = chain(("CONV_2D", (0,), MAP), ("RELU", (1,), MAP), ("TANH", (2,), MAP))
    graph.set_outputs([2, 3])
    assert together(graph) == [{1: 0, 2: 0}]  # neither is made over the other
    Machine(graph, plan_arena(graph)).run()
