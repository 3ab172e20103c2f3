"""A file read, written and read again; edits keep who makes and who reads what."""

from pathlib import Path

import numpy as np
import pytest

from sapool.tflite import (
    Constant,
    Graph,
    Operator,
    Quantization,
    Signature,
    Tensor,
    TfliteError,
    read_graph,
    write_graph,
)

MODEL = Path(__file__).parents[2] / "benchmarks" / "headline" / "self_attentive.tflite"


def same(one: Graph, other: Graph) -> None:
    assert (one.inputs, one.outputs, one.metadata) == (other.inputs, other.outputs, other.metadata)
    for a, b in zip(one.tensors, other.tensors, strict=True):
        assert (a.name, a.shape, a.dtype, a.quantization, a.variable) == (
            b.name,
            b.shape,
            b.dtype,
            b.quantization,
            b.variable,
        )
        assert raw(a) == raw(b)
    for p, q in zip(one.operators, other.operators, strict=True):
        assert (p.kind, p.inputs, p.outputs, p.options, p.version) == (
            q.kind,
            q.inputs,
            q.outputs,
            q.options,
            q.version,
        )


def raw(tensor: Tensor) -> bytes | None:
    return None if tensor.constant is None else tensor.constant.raw.tobytes()


@pytest.mark.skipif(not MODEL.exists(), reason="the committed model is not in this checkout")
def test_a_real_file_survives() -> None:
    graph = read_graph(MODEL)
    again = read_graph(write_graph(graph))
    for one, other in zip(graph.graphs, again.graphs, strict=True):
        same(one, other)


def chain() -> Graph:
    """0 -RELU-> 1 -TANH-> 2, and 0 -LOGISTIC-> 3."""
    tensors = [Tensor(str(i), (1, 4)) for i in range(4)]
    steps = [("RELU", 0, 1), ("TANH", 1, 2), ("LOGISTIC", 0, 3)]
    return Graph(tensors, [Operator(kind, (a,), (b,)) for kind, a, b in steps], [0], [2])


def test_edits_are_seen() -> None:
    graph = chain()
    assert graph.readers(0) == (0, 2)
    assert graph.maker(2, "TANH") is graph.operators[1]
    assert graph.remove_unread() == 1
    assert graph.readers(0) == (0,)
    graph.redirect(1, 0)
    assert (graph.readers(0), graph.readers(1)) == ((0, 1), ())
    graph.remove([0])
    graph.keep_tensors([0, 2])
    assert (graph.operators[0].inputs, graph.operators[0].outputs, graph.outputs) == ((0,), (1,), (1,))
    assert graph.makers == {1: 0}


def test_a_copy_is_apart() -> None:
    graph = chain()
    copied = graph.copy()
    copied.remove([0])
    assert len(graph.operators) == 3
    assert graph.makers[1] == 0


def test_constants_are_read_when_asked() -> None:
    calls = []

    def made() -> np.ndarray:
        calls.append(1)
        return np.arange(4, dtype=np.int32)

    tensor = Tensor("axes", (2, 2), "int32", Quantization((1.0,), (0,)), Constant(made))
    assert not calls
    assert tensor.values is not None
    assert tensor.values.tolist() == [[0, 1], [2, 3]]
    assert tensor.integers == (0, 1, 2, 3)
    assert calls == [1]


def test_a_copy_shares_the_weights_alone() -> None:
    graph = chain()
    weights = graph.add_constant(np.ones(4, np.int8), "weights")
    copied = graph.copy()
    assert copied.tensors[weights].constant is graph.tensors[weights].constant
    copied.add_tensor(Tensor("more", (1,)))
    copied.metadata["own"] = b""
    assert len(copied.tensors) == len(graph.tensors) + 1
    assert graph.metadata == {}


def test_the_memory_plan_is_one_of_all_graphs_tensors() -> None:
    graph = chain()
    graph.subgraphs.append(chain())
    assert graph.offline == ()
    graph.set_offline(range(8))
    assert graph.offline == tuple(range(8))
    graph.add_tensor(Tensor("more", (1,)))
    with pytest.raises(TfliteError, match="an offset for each of 9 tensors, got 8"):
        _ = graph.offline
    graph.set_offline(None)
    assert (graph.offline, graph.metadata) == ((), {})


def test_what_nothing_names_goes_from_every_graph() -> None:
    graph, inner = chain(), chain()
    graph.subgraphs.append(inner)
    graph.remove([2])
    inner.remove([2])
    graph.signatures = (Signature("main", 0, {"x": 0}, {"y": 2}), Signature("inner", 1, {"x": 0}, {"spare": 3}))
    assert graph.drop_unused() == [{0: 0, 1: 1, 2: 2}, {0: 0, 1: 1, 2: 2, 3: 3}]
    assert len(graph.tensors) == 3
    assert len(inner.tensors) == 4  # a signature names it


def test_a_scalar_constant_has_no_sides() -> None:
    graph = chain()
    axis, zero = graph.add_integers([3], "axis", scalar=True), graph.add_constant(np.zeros((), np.int8), "zero")
    assert (graph.tensors[axis].shape, graph.tensors[axis].integers) == ((), (3,))
    assert (graph.tensors[zero].shape, graph.tensors[zero].bytes) == ((), 1)
