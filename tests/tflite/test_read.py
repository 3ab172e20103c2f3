from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from sapool.tflite import TfliteError, read_graph, write_graph
from sapool.tflite.file import pack, parse, schema
from sapool.tflite.read import graph_of
from tests.memory.control_flow import control_flow
from tests.memory.handmade import Graph, Op, Tensor, build, single, weights

CONV = single(
    "CONV_2D",
    [Tensor((1, 8, 8, 4)), weights(6, 3, 3, 4, channels=6), weights(6, dtype="int32", channels=6)],
    [Tensor((1, 4, 4, 6))],
    "Conv2DOptions",
    {"strideH": 2, "strideW": 2},
)


def test_it_reads_what_the_arena_depends_on(tmp_path: Path) -> None:
    path = tmp_path / "conv.tflite"
    path.write_bytes(build(CONV))
    graph = read_graph(path)
    assert write_graph(graph) == write_graph(read_graph(path.read_bytes()))
    assert [(t.shape, t.dtype, t.constant is not None, t.channels) for t in graph.tensors] == [
        ((1, 8, 8, 4), "int8", False, 1),
        ((6, 3, 3, 4), "int8", True, 6),
        ((6,), "int32", True, 6),
        ((1, 4, 4, 6), "int8", False, 1),
    ]
    (operator,) = graph.operators
    assert (operator.kind, operator.inputs, operator.outputs) == ("CONV_2D", (0, 1, 2), (3,))
    assert operator.options["strideH"] == 2
    assert (graph.inputs, graph.outputs, graph.offline) == ((0,), (3,), ())


def test_unquantised_tensors_have_no_channels() -> None:
    graph = single("RELU", [Tensor((1, 4), "float32", scales=())], [Tensor((1, 4), "float32", scales=())])
    assert [t.channels for t in read_graph(build(graph)).tensors] == [0, 0]


def test_every_graph_is_read() -> None:
    graph = read_graph(build(*control_flow()["while"]))
    assert [len(one.operators) for one in graph.graphs] == [3, 1, 3]


@pytest.mark.parametrize("length", [0, 7, 12, 100, -300])
def test_a_file_cut_short_is_named(tmp_path: Path, length: int) -> None:
    path = tmp_path / "short.tflite"
    path.write_bytes(build(CONV)[:length])
    with pytest.raises(TfliteError, match=r"short\.tflite: (not a|a damaged) \.tflite file"):
        read_graph(path)
    with pytest.raises(TfliteError, match=r"^(not a|a damaged) \.tflite file"):
        read_graph(path.read_bytes())


def test_another_version_of_the_schema_is_refused(tmp_path: Path) -> None:
    model = parse(build(CONV))
    model.version = 4
    path = tmp_path / "new.tflite"
    path.write_bytes(pack(model))
    with pytest.raises(TfliteError, match=r"new\.tflite: schema version 4: only version 3 is supported"):
        read_graph(path)


def test_a_file_without_operators_is_refused() -> None:
    with pytest.raises(TfliteError, match="without operators"):
        read_graph(build(Graph([Tensor((1, 4))], [], [0], [0])))


def test_a_tensor_of_unknown_shape_is_named() -> None:
    model = parse(build(CONV))
    model.subgraphs[0].tensors[3].shape = np.array([1, -1, 4, 6], np.int32)
    with pytest.raises(TfliteError, match=r"tensor t3 has the shape \(1, -1, 4, 6\): every side must be known"):
        graph_of(model)


def test_a_batch_that_may_change_is_taken_as_it_stands_and_other_sides_are_named() -> None:
    model = parse(build(CONV))
    model.subgraphs[0].tensors[0].shapeSignature = np.array([-1, 8, 8, 4], np.int32)
    assert graph_of(model).tensors[0].shape == (1, 8, 8, 4)
    model.subgraphs[0].tensors[0].shapeSignature = np.array([-1, -1, 8, 4], np.int32)
    with pytest.raises(TfliteError, match=r"tensor t0 has a shape that changes, \(-1, -1, 8, 4\)"):
        graph_of(model)


def test_a_type_without_a_size_is_named() -> None:
    graph = single("RELU", [Tensor((1, 4), "string", scales=())], [Tensor((1, 4), "string", scales=())])
    with pytest.raises(TfliteError, match="tensor t0 is of type string: known are bool"):
        read_graph(build(graph))


def test_offline_offsets_must_be_as_many_as_tensors() -> None:
    assert read_graph(build(CONV, offline=[0, -1, -1, 256])).offline == (0, -1, -1, 256)
    with pytest.raises(TfliteError, match="an offset for each of 4 tensors, got 3"):
        read_graph(build(CONV, offline=[0, -1, -1]))


def test_control_flow_to_no_graph_and_in_a_circle_is_refused() -> None:
    x = Tensor((1, 4))
    call = Op("CALL_ONCE", [], [], ("CallOnceOptions", {"initSubgraphIndex": 2}))
    relu = Op("RELU", [0], [1])
    with pytest.raises(TfliteError, match="CALL_ONCE runs graph 2 of a file with 1"):
        read_graph(build(Graph([x, x], [call, relu], [0], [1])))
    again = Op("CALL_ONCE", [], [], ("CallOnceOptions", {"initSubgraphIndex": 1}))
    with pytest.raises(TfliteError, match="of graph 1 runs graph 1, which it is part of"):
        read_graph(build(Graph([x, x], [again, relu], [0], [1]), Graph([x, x], [again, relu], [0], [1])))


def test_one_graph_named_many_times_is_refused_at_once() -> None:
    """300 entries of the list of subgraphs are one graph of 300 tensors: a small file that would be 90,000 tensors."""
    fb = schema()
    model = parse(build(Graph([Tensor((1, 4)) for _ in range(300)], [Op("RELU", [0], [1])], [0], [1])))
    packed: dict[int, object] = {}

    class Once(fb.SubGraphT):  # type: ignore[name-defined]
        def Pack(self, builder: object) -> object:  # noqa: N802
            if not packed:
                packed[0] = super().Pack(builder)
            return packed[0]

    shared = Once()
    shared.__dict__.update(vars(model.subgraphs[0]))
    model.subgraphs = [shared] * 300
    data = pack(model)
    assert len(data) < 100_000
    start = time.perf_counter()
    with pytest.raises(TfliteError, match=r"it claims 90,300 tensors and operators in [\d,]+ bytes"):
        read_graph(data)
    assert time.perf_counter() - start < 5
