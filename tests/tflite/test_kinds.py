"""Each kind's rule, kept once and broken once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from sapool.tflite import Graph, Operator, read_graph
from sapool.tflite.kinds import broken_rule
from sapool.tflite.options import OptionValue
from tests.graphs import make_operator, make_tensor
from tests.memory.handmade import build
from tests.memory.single_operators import everything

Side = tuple[int, ...] | list[int]  # a shape, or the values of an int32 constant
VALID = 1


def said(kind: str, inputs: Sequence[Side], output: tuple[int, ...], **options: OptionValue) -> str:
    """The rule that one operator breaks."""
    graph = Graph()
    for place, given in enumerate(inputs):
        if isinstance(given, list):
            graph.add_integers(given, f"t{place}")
        else:
            graph.add_tensor(make_tensor(f"t{place}", given))
    made = graph.add_tensor(make_tensor("made", output))
    graph.set_operators([make_operator(kind, range(len(inputs)), [made], options)])
    return broken_rule([graph], graph, graph.operators[0])


CONV: Mapping[str, OptionValue] = {"strideH": 2, "strideW": 2, "padding": VALID}
POOL: Mapping[str, OptionValue] = {**CONV, "filterHeight": 2, "filterWidth": 2}
IMAGE, MAP = (1, 9, 9, 6), (1, 4, 4, 8)
SOUND: dict[str, tuple[Sequence[Side], tuple[int, ...], Mapping[str, OptionValue]]] = {
    "CONV_2D": ([IMAGE, (8, 3, 3, 6), (8,)], MAP, CONV),
    "DEPTHWISE_CONV_2D": ([IMAGE, (1, 3, 3, 12), (12,)], (1, 4, 4, 12), CONV),
    "MAX_POOL_2D": ([IMAGE], (1, 4, 4, 6), POOL),
    "TRANSPOSE_CONV": ([[1, 8, 8, 3], (3, 2, 2, 6), (1, 4, 4, 6)], (1, 8, 8, 3), CONV),
    "FULLY_CONNECTED": ([(2, 12), (5, 6)], (4, 5), {}),
    "BATCH_MATMUL": ([(2, 3, 4), (2, 4, 5)], (2, 3, 5), {}),
    "RESHAPE": ([(2, 6)], (3, 4), {}),
    "RELU": ([(1, 3, 4)], (3, 4), {}),
    "SOFTMAX": ([(1, 7)], (1, 7), {}),
    "ADD": ([(2, 1, 4), (3, 1)], (2, 3, 4), {}),
    "TRANSPOSE": ([(2, 3, 4), [2, 0, 1]], (4, 2, 3), {}),
    "PAD": ([(1, 3), [0, 1, 2, 0]], (2, 5), {}),
    "SLICE": ([(4, 6), [1, 2], [2, 3]], (2, 3), {}),
    "SPLIT": ([[0], (4, 6)], (4, 6), {"numSplits": 1}),
    "CONCATENATION": ([(1, 2, 3), (1, 5, 3)], (1, 7, 3), {"axis": -2}),
    "MEAN": ([(1, 4, 4, 3), [1, -2]], (1, 3), {}),
    "SVDF": ([(1, 6), (8, 6), (8, 4)], (1, 4), {"rank": 2}),
}


@pytest.mark.parametrize("kind", SOUND)
def test_a_sound_operator_breaks_no_rule(kind: str) -> None:
    inputs, output, options = SOUND[kind]
    assert said(kind, inputs, output, **options) == ""


BROKEN: list[tuple[str, Sequence[Side], tuple[int, ...], Mapping[str, OptionValue], str]] = [
    ("CONV_2D", [IMAGE, (8, 3, 3, 6)], (1, 4, 4, 7), CONV, "its weights make 8 channels, its output has 7"),
    ("CONV_2D", [IMAGE, (8, 3, 3, 6), (7,)], MAP, CONV, "its weights make 8 channels"),
    ("CONV_2D", [IMAGE, (8, 3, 3, 4)], MAP, CONV, "its weights (8, 3, 3, 4) don't fit an input of (1, 9, 9, 6)"),
    ("CONV_2D", [IMAGE, (8, 3, 3, 6)], (1, 5, 4, 8), CONV, "a window over 9 makes 4, its output has 5"),
    ("CONV_2D", [IMAGE, (8, 3, 3, 6)], (2, 4, 4, 8), CONV, "its input has 1 images, its output 2"),
    ("CONV_2D", [(9, 9, 6), (8, 3, 3, 6)], MAP, CONV, "t0 must have 4 sides of at least 1, got (9, 9, 6)"),
    ("DEPTHWISE_CONV_2D", [IMAGE, (1, 3, 3, 8)], MAP, CONV, "don't fit an input"),
    ("MAX_POOL_2D", [IMAGE], MAP, POOL, "a pool keeps its channels, got 6 and 8"),
    ("MAX_POOL_2D", [IMAGE], (1, 4, 4, 6), CONV, "strides, dilations and windows must be at least 1"),
    ("TRANSPOSE_CONV", [[8], (3, 2, 6), (1, 4, 4, 6)], (1, 8, 8, 3), CONV, "t1 must have 4 sides"),
    ("FULLY_CONNECTED", [(2, 12), (5, 7)], (4, 5), {}, "don't lead from (2, 12) to (4, 5)"),
    ("BATCH_MATMUL", [(2, 3, 4), (2, 3, 5)], (2, 3, 5), {}, "a product of (2, 3, 4) and (2, 3, 5)"),
    ("BATCH_MATMUL", [(4,), (4, 5)], (5,), {}, "a matrix product of (4,) and (4, 5) can't be (5,)"),
    ("RESHAPE", [(2, 6)], (3, 5), {}, "12 values can't have the shape (3, 5)"),
    ("RELU", [(3, 4)], (4, 3), {}, "it must keep the shape (3, 4), got (4, 3)"),
    ("SOFTMAX", [()], (), {}, "it must have at least one side"),
    ("ADD", [(2, 3), (2, 4)], (2, 4), {}, "(2, 3) and (2, 4) don't broadcast"),
    ("ADD", [(2, 3), (1, 3)], (1, 3), {}, "make (2, 3), got (1, 3)"),
    ("TRANSPOSE", [(2, 3), [1, 1]], (3, 3), {}, "its order must be a permutation of 2 sides, got (1, 1)"),
    ("TRANSPOSE", [(2, 3), [1, 0]], (2, 3), {}, "is (3, 2), got (2, 3)"),
    ("PAD", [(1, 3), [0, 1, -1, 2]], (2, 4), {}, "two amounts of at least 0 a side"),
    ("PAD", [(1, 3), [0, 0, 1, 1]], (1, 4), {}, "is (1, 5), got (1, 4)"),
    ("SLICE", [(4, 6), [3, 2], [2, 3]], (2, 3), {}, "(2, 3) from (3, 2) is outside (4, 6)"),
    ("SLICE", [(4, 6), [0, 0], [5, 3]], (5, 3), {}, "it can't be (5, 3) out of (4, 6)"),
    ("SPLIT", [[0], (4, 6)], (4, 3), {"numSplits": 2}, "it must have 2 outputs, got 1"),
    ("CONCATENATION", [(1, 2, 3), (1, 5, 4)], (1, 7, 3), {"axis": 1}, "along side 1 to (1, 7, 3)"),
    ("CONCATENATION", [(1, 2), (1, 5)], (1, 7), {"axis": 2}, "along side 2"),
    ("MEAN", [(4, 3), [2]], (4,), {}, "it has 2 sides, got the axes (2,)"),
    ("SVDF", [(1, 6), (8, 6), (8, 4)], (1, 4), {"rank": 3}, "8 filters can't have rank 3"),
    ("CONV_2D", [IMAGE], MAP, CONV, "it must have 2 inputs, got 1"),
]


@pytest.mark.parametrize(("kind", "inputs", "output", "options", "rule"), BROKEN)
def test_a_broken_rule_is_said(
    kind: str, inputs: Sequence[Side], output: tuple[int, ...], options: Mapping[str, OptionValue], rule: str
) -> None:
    assert rule in said(kind, inputs, output, **options)


def test_every_kind_made_by_hand_is_sound() -> None:
    for graph in everything().values():
        read = read_graph(build(graph))
        assert [broken_rule(read.graphs, read, operator) for operator in read.operators] == [""] * len(read.operators)


def test_a_custom_operator_is_its_makers_business() -> None:
    graph = Graph([make_tensor("x", (1,))])
    assert broken_rule([graph], graph, Operator("CONV_2D", (), (), custom=True)) == ""
    assert broken_rule([graph], graph, Operator("CONV_2D", (), ())) == "its options must be Conv2DOptions, got none"
    assert broken_rule([graph], graph, Operator("RELU", (0,), ())) == "it must make something"
