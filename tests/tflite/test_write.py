"""What is written is read back the same, by this package and by the schema's own reader."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from sapool.tflite import Constant, Graph, Operator, Options, Quantization, Signature, Tensor, read_graph, write_graph
from sapool.tflite.write import model_of
from tests.graphs import make_operator, make_tensor


def everything() -> Graph:
    """Two tensors on one constant, two operators of one kind, a custom one, metadata and a signature."""
    shared = Constant(np.arange(4, dtype=np.int8))
    tensors = [
        Tensor("x", (1, 4), quantization=Quantization((0.5,), (-3,)), signature=(-1, 4)),
        Tensor("a", (1, 4), constant=shared, quantization=Quantization((0.25,), (0,))),
        Tensor("b", (1, 4), constant=shared, quantization=Quantization((0.25,), (0,))),
        *(make_tensor(name, (1, 4)) for name in ("one", "two", "three")),
    ]
    operators = [
        make_operator("ADD", [0, 1], [3], {"fusedActivationFunction": 1, "potScaleInt16": False}),
        make_operator("ADD", [3, 2], [4], {"fusedActivationFunction": 0, "potScaleInt16": False}),
        Operator("Mine", (4,), (5,), custom=True, custom_options=b"\x01\x02"),
    ]
    graph = Graph(tensors, operators, [0], [5])
    graph.metadata["note"] = b"kept"
    graph.signatures = (Signature("serving", 0, {"image": 0}, {"scores": 5}),)
    return graph


def test_it_comes_back_as_it_was() -> None:
    graph = everything()
    again = read_graph(write_graph(graph))
    assert [(op.kind, op.inputs, op.outputs, op.options, op.custom_options) for op in again.operators] == [
        (op.kind, op.inputs, op.outputs, op.options, op.custom_options) for op in graph.operators
    ]
    assert [(t.name, t.shape, t.dtype, t.quantization, t.signature) for t in again.tensors] == [
        (t.name, t.shape, t.dtype, t.quantization, t.signature) for t in graph.tensors
    ]
    assert (again.metadata, again.signatures) == (graph.metadata, graph.signatures)
    assert write_graph(again) == write_graph(graph)


def test_constants_and_operator_codes_are_shared_and_buffer_0_is_empty() -> None:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(write_graph(everything()), 0))
    (written,) = model.subgraphs
    assert model.buffers[0].data is None or not len(model.buffers[0].data)
    assert written.tensors[1].buffer == written.tensors[2].buffer != 0
    assert written.tensors[0].buffer == 0
    assert [op.opcodeIndex for op in written.operators] == [0, 0, 1]
    assert [code.builtinCode for code in model.operatorCodes] == [
        schema.BuiltinOperator.ADD,
        schema.BuiltinOperator.CUSTOM,
    ]
    assert bytes(model.operatorCodes[1].customCode) == b"Mine"
    assert written.operators[0].builtinOptions.fusedActivationFunction == 1


def test_options_of_the_second_union_go_there() -> None:
    graph = everything()
    graph.change_operator(0, kind="STABLEHLO_CONCATENATE", options=Options("StablehloConcatenateOptions", dimension=1))
    (written,) = model_of(graph).subgraphs
    assert written.operators[0].builtinOptions2.dimension == 1
    assert written.operators[0].builtinOptions2Type == schema.BuiltinOptions2.StablehloConcatenateOptions
    assert written.operators[0].builtinOptions is None
