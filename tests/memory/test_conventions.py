from __future__ import annotations

from pathlib import Path

import pytest

from sapool.memory import buffers_of, profile_graph, profile_tflite
from sapool.memory.conventions import blocks_of, conventions_of
from sapool.tflite import Graph, Operator, count_macs, macs_of, read_graph
from tests.graphs import make_operator, make_tensor
from tests.memory.handmade import build
from tests.memory.single_operators import convolutions, products

KIB = 1024


class Network:
    """Convolutions one behind another; sizes are (H, W, C)."""

    def __init__(self, side: int, channels: int) -> None:
        self.tensors = [make_tensor("image", (1, side, side, channels))]
        self.operators: list[Operator] = []
        self.last = 0

    def _add(self, kind: str, inputs: tuple[int, ...], shape: tuple[int, ...]) -> int:
        self.tensors.append(make_tensor(f"t{len(self.tensors)}", shape))
        self.last = len(self.tensors) - 1
        self.operators.append(make_operator(kind, inputs, (self.last,)))
        return self.last

    def conv(self, out: int, kernel: int = 1, stride: int = 1, kind: str = "CONV_2D") -> int:
        entering = self.last
        _, height, width, channels = self.tensors[entering].shape
        depthwise = kind == "DEPTHWISE_CONV_2D"
        weights = (1, kernel, kernel, out) if depthwise else (out, kernel, kernel, channels)
        self.tensors.append(make_tensor("w", weights, constant=True))
        return self._add(kind, (entering, len(self.tensors) - 1), (1, height // stride, width // stride, out))

    def depthwise(self, stride: int = 1) -> int:
        return self.conv(self.tensors[self.last].shape[-1], 3, stride, "DEPTHWISE_CONV_2D")

    def add(self, other: int) -> int:
        return self._add("ADD", (self.last, other), self.tensors[self.last].shape)

    def inverted_residual(self, out: int, stride: int, expansion: int) -> None:
        entering = self.last
        channels = self.tensors[entering].shape[-1]
        if expansion > 1:
            self.conv(channels * expansion)
        self.depthwise(stride)
        self.conv(out)
        if stride == 1 and out == channels:
            self.add(entering)

    def graph(self) -> Graph:
        return Graph(tuple(self.tensors), tuple(self.operators), (0,), (self.last,))


def mobilenet_v2() -> Graph:
    """Table 2 of Sandler et al., CVPR 2018, at 224 px, to the last map."""
    net = Network(224, 3)
    net.conv(32, 3, 2)
    for expansion, channels, count, stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for i in range(count):
            net.inverted_residual(channels, stride if i == 0 else 1, expansion)
    net.conv(1280)
    return net.graph()


def test_mobilenet_v2_has_the_figures_that_papers_quote() -> None:
    figures = profile_graph(mobilenet_v2()).conventions
    assert figures["block in+out"] == 588 * KIB
    assert figures["operator in+out, depthwise in place"] == 1372 * KIB
    assert figures["operator in+out"] == 1470 * KIB
    assert figures["float32"] == 4 * 1470 * KIB
    assert figures["input image"] == 224 * 224 * 3


def test_its_blocks_are_the_papers() -> None:
    blocks = blocks_of(mobilenet_v2())
    assert len(blocks) == 1 + 17 + 1  # the stem, the inverted residuals, the last convolution
    assert sum(len(block) for block in blocks) == len(mobilenet_v2().operators)


def test_a_depthwise_separable_pair_is_one_block() -> None:
    net = Network(32, 3)  # as MobileNetV1: each pair widens
    net.conv(8, 3, 2)
    for channels, stride in ((16, 1), (32, 2), (32, 1)):
        net.depthwise(stride)
        net.conv(channels)
    assert [len(block) for block in blocks_of(net.graph())] == [1, 2, 2, 2]


def test_a_residual_is_one_block_and_plain_convolutions_are_their_own() -> None:
    net = Network(16, 3)
    entering = net.conv(8, 3)
    net.conv(8, 3)
    net.conv(8, 3)
    net.add(entering)
    net.conv(4, 3)
    assert blocks_of(net.graph()) == (range(1), range(1, 4), range(4, 5))
    figures = profile_graph(net.graph()).conventions
    assert figures["block in+out"] == 16 * 16 * (8 + 8)
    assert figures["operator in+out"] == figures["operator in+out, depthwise in place"] == 16 * 16 * (8 + 8 + 8)


def test_without_the_input_image_the_head_is_what_the_rest_needs() -> None:
    net = Network(16, 3)
    net.conv(1, 3, 2)
    graph = net.graph()
    figures = conventions_of(graph, buffers_of(graph))
    assert figures["without the input image"] == 8 * 8
    assert profile_graph(graph).head_bytes == 16 * 16 * 3 + 8 * 8


@pytest.mark.parametrize("name", ["conv_int8_6", "depthwise_int8_6", "fc_int8_1", "bmm_int8_00", "bmm_int8_11"])
def test_macs_are_those_of_the_file(name: str) -> None:
    data = build(dict([*convolutions(), *products()])[name])
    graph = read_graph(data)
    assert macs_of(graph, graph.operators[0]) == count_macs(read_graph(data)) > 0


def test_macs_of_a_whole_file_add_up(exported: Path) -> None:
    assert sum(op.macs for op in profile_tflite(exported).by_operator) == count_macs(read_graph(exported.read_bytes()))
