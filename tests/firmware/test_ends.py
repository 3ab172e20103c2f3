"""What a program takes and gives: several outputs, uint8 at both ends, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sapool.firmware.generate import plan_program
from sapool.firmware.program import profile_program
from sapool.firmware.rows import UnsupportedError
from sapool.tflite.graph import Graph, Operator, Quantization, Tensor
from sapool.tflite.options import Options
from tests.firmware.judge import images_for, judge, run_c
from tests.firmware.random_networks import Maker, random_network


def two_headed() -> Graph:
    make = Maker(5)
    source = make.tensor((1, 9, 7, 3))
    make.graph.set_inputs([source])
    body = make.conv(source, kernel=3, channels=6)
    make.graph.set_outputs([make.head(make.conv(body)), make.depthwise(body), make.head(body)])
    return make.graph


def unsigned() -> Graph:
    """uint8 -> QUANTIZE -> a network -> QUANTIZE -> uint8."""
    make = Maker(8)
    source = make.tensor((1, 8, 8, 3), Quantization((0.02,), (120,)), "uint8")
    inner = make.tensor((1, 8, 8, 3), Quantization((0.021,), (-7,)))
    make.graph.set_inputs([source])
    make.add("QUANTIZE", (source,), (inner,))
    scores = make.head(make.conv(inner))
    result = make.tensor(make.shape(scores), Quantization((0.05,), (130,)), "uint8")
    make.add("QUANTIZE", (scores,), (result,))
    make.graph.set_outputs([result])
    return make.graph


def computed_weights() -> Graph:
    """FULLY_CONNECTED whose weights are a map's pixels."""
    make = Maker(9)
    source = make.tensor((1, 6, 4, 3))
    make.graph.set_inputs([source])
    body = make.conv(source, kernel=1, channels=5, stride=1)
    # Quantised without a zero point, as weights must be.
    flat = Quantization((0.03,), (0,))
    make.graph.change_tensor(body, quantization=flat)
    weights = make.tensor((24, 5), flat)
    make.add("RESHAPE", (body,), (weights,), "ReshapeOptions", newShape=(24, 5))
    query = make.conv(source, kernel=1, channels=5, stride=1)
    scores = make.tensor((1, 6, 4, 24), make.quantization(5))
    make.add("FULLY_CONNECTED", (query, weights, -1), (scores,), "FullyConnectedOptions", keepNumDims=True)
    make.graph.set_outputs([make.unary(scores, "SOFTMAX")])
    return make.graph


@pytest.mark.parametrize(
    "graph", [two_headed(), unsigned(), computed_weights()], ids=["outputs", "uint8", "computed weights"]
)
@pytest.mark.parametrize("stream", [True, False])
def test_bits_equal_tflm(graph: Graph, stream: bool, tmp_path: Path) -> None:
    images = images_for(graph, 1)
    (wanted,) = judge([graph], [images])
    for one, other in zip(run_c(graph, images, tmp_path, stream=stream), wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_stretch_of_floats_is_a_table() -> None:
    make = Maker(3)
    source = make.tensor((1, 4, 4, 2))
    make.graph.set_inputs([source])
    first = make.conv(source, kernel=1, stride=1)
    floats = [make.tensor(make.shape(first), None, "float32") for _ in range(2)]
    last = make.tensor(make.shape(first))
    make.add("DEQUANTIZE", (first,), (floats[0],))
    make.add("EXP", (floats[0],), (floats[1],))
    make.add("QUANTIZE", (floats[1],), (last,))
    make.graph.set_outputs([make.head(last)])
    planned = plan_program(make.graph, "net", "host")
    assert [step.kind for step in planned.program.steps].count("table") == 1


def test_an_operator_that_is_not_there_is_named() -> None:
    graph = Graph(
        [Tensor("image", (1, 4)), Tensor("sine", (1, 4))], [Operator("CUMSUM", (0,), (1,), module="net.sum")], [0], [1]
    )
    with pytest.raises(UnsupportedError, match=r"operator 0 \(CUMSUM\) of net.sum: .* TFLM still runs"):
        plan_program(graph, "net", "host")


def test_loops_are_named_first() -> None:
    graph = Graph(
        [Tensor("image", (1, 4)), Tensor("filled", (1, 4)), Tensor("looped", (1, 4))],
        [Operator("FILL", (0,), (1,)), Operator("WHILE", (1,), (2,), Options("WhileOptions", condSubgraphIndex=1))],
        [0],
        [2],
    )
    with pytest.raises(UnsupportedError, match=r"operator 1 \(WHILE\).*no loops"):
        plan_program(graph, "net", "host")


def test_int16_activations_are_refused_with_the_place() -> None:
    make = Maker(1)
    source = make.tensor((1, 4, 4, 2))
    make.graph.set_inputs([source])
    make.graph.set_outputs([make.conv(source)])
    make.graph.change_tensor(make.graph.outputs[0], dtype="int16")
    with pytest.raises(UnsupportedError, match=r"operator 0 \(CONV_2D\).*int16.*TFLM still runs"):
        plan_program(make.graph, "net", "host")


@pytest.mark.parametrize("seed", range(6))
def test_streaming_never_needs_more_than_whole_maps(seed: int) -> None:
    graph = random_network(seed)
    streamed = profile_program(graph, "cortex-m4").ram_bytes
    assert streamed <= profile_program(graph, "cortex-m4", stream_input=False).ram_bytes + 64
