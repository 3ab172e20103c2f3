"""Each rule, broken once; the message names the operator, its place and the tensor."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from sapool.tflite import (
    Constant,
    Graph,
    Operator,
    Options,
    Quantization,
    Signature,
    Tensor,
    TfliteError,
    read_graph,
    verify,
)
from sapool.tflite.edit import make_operator
from tests.memory.control_flow import control_flow
from tests.memory.handmade import build
from tests.memory.single_operators import everything
from tests.passes.tiling.networks import inverted_residuals


def convolved() -> Graph:
    """A convolution, a ReLU and their sum."""
    graph = Graph(inputs=[0], outputs=[5])
    plain = Quantization((0.5,), (0,))
    graph.add_tensor(Tensor("image", (1, 8, 8, 3), quantization=plain))
    graph.add_constant(np.ones((4, 3, 3, 3), np.int8), "weights", Quantization((0.1,) * 4, (0,) * 4))
    graph.add_constant(np.zeros(4, np.int32), "bias")
    for name in ("conv", "relu", "sum"):
        graph.add_tensor(Tensor(name, (1, 8, 8, 4), quantization=plain))
    window = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1, "padding": 0}
    conv = make_operator("CONV_2D", [0, 1, 2], [3], **window)
    graph.set_operators([conv, make_operator("RELU", [3], [4]), make_operator("ADD", [3, 4], [5])])
    return graph


def options(graph: Graph, **values: int) -> None:
    graph.change_operator(0, options=graph.operators[0].options.changed(**values))


CONV = r"^operator 0 \(CONV_2D, which makes conv\): "
BROKEN: dict[str, tuple[Callable[[Graph], object], str]] = {
    "input out of range": (
        lambda g: g.change_operator(1, inputs=(9,)),
        r"operator 1 \(RELU\) reads tensor 9 .* with 6",
    ),
    "output out of range": (lambda g: g.change_operator(1, outputs=(-1,)), r"operator 1 \(RELU\) makes tensor -1"),
    "an end out of range": (lambda g: g.set_outputs([6]), "its outputs name tensor 6"),
    "no outputs": (lambda g: g.set_outputs([]), "without outputs"),
    "read before made": (
        lambda g: g.set_operators(g.operators[::-1]),
        r"operator 0 \(ADD, which makes sum\): it reads tensor 3 \(conv\), which nothing has made by then",
    ),
    "made twice": (lambda g: g.change_operator(1, outputs=(3,)), r"it makes tensor 3 \(conv\), which is there already"),
    "output never made": (lambda g: g.remove([2]), r"output 5 \(sum\): nothing makes it"),
    "absurd shape": (lambda g: g.change_tensor(3, shape=(1, 2**20, 2**20, 4)), "tensor conv has the shape .* over"),
    "unknown shape": (lambda g: g.change_tensor(3, shape=(1, -1, 8, 4)), "tensor conv has the shape .* must be known"),
    "short constant": (
        lambda g: g.change_tensor(1, constant=Constant(np.zeros(7, np.uint8))),
        r"tensor weights is a constant int8 of \(4, 3, 3, 3\): it must have 108 bytes, got 7",
    ),
    "too few scales": (
        lambda g: g.change_tensor(1, quantization=Quantization((0.1,) * 3, (0,) * 3)),
        "tensor weights must have a scale a channel, got 3 along side 0",
    ),
    "zero points": (
        lambda g: g.change_tensor(1, quantization=Quantization((0.1,) * 4, (0,) * 2)),
        "tensor weights must have a zero point a scale, got 2 of 4",
    ),
    "other options": (
        lambda g: g.change_operator(0, options=Options.of("MUL")),
        CONV + "its options must be Conv2DOptions, got MulOptions",
    ),
    "no options": (lambda g: g.change_operator(0, options=Options()), CONV + "its options must be .*, got none"),
    "no weights": (lambda g: g.change_operator(0, inputs=(0, -1)), CONV + "it must have 2 inputs, got 1"),
    "no output": (lambda g: g.change_operator(1, outputs=()), r"it reads tensor 4|it must make something"),
    "no stride": (lambda g: options(g, strideH=0), CONV + "strides, dilations and windows must be at least 1"),
    "other size": (lambda g: options(g, padding=1), CONV + "a window over 8 makes 6, its output has 8"),
    "broadcast": (lambda g: g.change_tensor(4, shape=(1, 8, 8, 3)), "it must keep the shape"),
    "signature": (lambda g: setattr(g, "signatures", (Signature("main", 0, {"x": 8}, {}),)), "names tensor 8"),
    "another graph's signature": (lambda g: setattr(g, "signatures", (Signature("f", 2, {}, {}),)), "of graph 2"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_named(name: str) -> None:
    change, said = BROKEN[name]
    graph = convolved()
    verify(graph)
    change(graph)
    with pytest.raises(TfliteError, match=said):
        verify(graph)


def test_sound_graphs_keep_every_rule() -> None:
    for graph in everything().values():
        verify(read_graph(build(graph)))
    for graphs in control_flow().values():
        verify(read_graph(build(*graphs)))
    verify(inverted_residuals())


def test_a_loop_must_carry_as_much_as_it_is_given() -> None:
    graph = read_graph(build(*control_flow()["while"]))
    place, loop = next(graph.of_kind("WHILE"))
    body = graph.graphs[loop.called[1]]
    body.set_outputs(body.outputs[:-1])
    with pytest.raises(TfliteError, match=rf"operator {place} \(WHILE.*as many outputs of its body as inputs"):
        verify(graph)
    graph.change_operator(place, options=loop.options.changed(bodySubgraphIndex=0))
    with pytest.raises(TfliteError, match="WHILE of graph 0 runs graph 0, which it is part of"):
        verify(graph)


def test_an_unknown_side_may_be_asked_for() -> None:
    graph = convolved()
    graph.change_tensor(3, shape=(1, -1, 8, 4))
    verify(graph, fixed=False)


def calls(depth: int, twice: bool) -> Graph:
    """A chain of graphs, each of which runs the next one, or runs it twice."""
    graphs = []
    for place in range(depth + 1):
        options = Options("IfOptions", thenSubgraphIndex=place + 1, elseSubgraphIndex=place + 1)
        one = {} if place == depth else {"operators": [Operator("IF", (0, 1), (2,), options)]}
        tensors = [Tensor("truth", (1,), "bool"), Tensor("x", (1,)), Tensor("y", (1,))]
        if not twice and place < depth:
            options = Options("CallOnceOptions", initSubgraphIndex=place + 1)
            one = {"operators": [Operator("CALL_ONCE", (), (), options), Operator("RELU", (1,), (2,))]}
        outputs = [2] if place < depth else [1]
        graphs.append(Graph(tensors, inputs=[0, 1], outputs=outputs, **one))  # type: ignore[arg-type]
    main, *others = graphs
    main.subgraphs = others
    return main


def test_what_control_flow_runs_is_bounded() -> None:
    verify(calls(20, twice=False))
    start = time.perf_counter()
    with pytest.raises(TfliteError, match="runs more than 2,000 graphs"):
        verify(calls(60, twice=True))
    with pytest.raises(TfliteError, match="nested deeper than 64"):
        verify(calls(70, twice=False))
    assert time.perf_counter() - start < 5
