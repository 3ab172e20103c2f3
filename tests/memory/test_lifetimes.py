from __future__ import annotations

import random
from pathlib import Path

import pytest

from sapool import tflite
from sapool.memory import Buffer, buffers_of, fixed_offsets, profile_graph, profile_tflite
from sapool.memory.lifetimes import spans_of, steps_of
from sapool.tflite import read_graph
from tests.graphs import make_operator, make_tensor
from tests.memory.allocations import Arena, allocations
from tests.memory.control_flow import control_flow
from tests.memory.handmade import Graph, Op, Tensor, build


def graph_of(sizes: list[int], operators: list[tuple[list[int], list[int]]], outputs: tuple[int, ...]) -> tflite.Graph:
    tensors = tuple(make_tensor(f"t{i}", (1, size)) for i, size in enumerate(sizes))
    made = tuple(make_operator("ADD", tuple(ins), tuple(outs)) for ins, outs in operators)
    return tflite.Graph(tensors, made, (0,), outputs)


def lives(graph: tflite.Graph) -> dict[int, tuple[int, int]]:
    return {b.tensor: (b.first, b.last) for b in buffers_of(graph)}


def test_a_chain_lives_from_its_writer_to_its_reader() -> None:
    graph = graph_of([1, 1, 1], [([0], [1]), ([1], [2])], (2,))
    assert lives(graph) == {0: (0, 1), 1: (1, 2), 2: (2, 2)}
    assert steps_of(graph) == (1, 2)


def test_a_residual_lives_until_it_is_added() -> None:
    graph = graph_of([1, 1, 1, 1], [([0], [1]), ([1], [2]), ([2, 0], [3])], (3,))
    assert lives(graph)[0] == (0, 3)


def test_an_output_lives_to_the_end_and_an_input_from_the_start() -> None:
    graph = graph_of([1, 1, 1, 1], [([0], [1]), ([1], [2]), ([2], [3])], (1, 3))
    assert lives(graph)[1] == (1, 3)
    unread = tflite.Graph((*graph.tensors, make_tensor("second", (1, 1))), graph.operators, (0, 4), (3,))
    assert lives(unread)[4] == (0, 0)


def test_an_output_nobody_reads_lives_while_it_is_written() -> None:
    assert lives(graph_of([1, 1, 1], [([0], [1, 2])], (1,)))[2] == (1, 1)


def test_a_tensor_nothing_touches_takes_room_all_the_same() -> None:
    assert lives(graph_of([1, 1, 1], [([0], [1])], (1,)))[2] == (-1, -1)


def test_constants_variables_and_empty_tensors_take_none() -> None:
    tensors = (
        make_tensor("x", (4,)),
        make_tensor("w", (4,), constant=True),
        make_tensor("state", (4,), variable=True),
        make_tensor("none", (0, 4)),
        make_tensor("y", (4,)),
    )
    graph = tflite.Graph(tensors, (make_operator("ADD", (0, 1, 2, 3, -1), (4,)),), (0,), (4,))
    assert set(lives(graph)) == {0, 4}


def test_scratch_comes_after_the_tensors_and_lives_with_its_operator() -> None:
    tensors = (
        make_tensor("x", (1, 4, 4, 3)),
        make_tensor("axes", (2,), "int32", constant=True),
        make_tensor("y", (1, 3)),
    )
    graph = tflite.Graph(tensors, (make_operator("MEAN", (0, 1), (2,)),), (0,), (2,))
    scratch = [Buffer(size, 1, 1, operator=0) for size in (12, 16, 8)]
    assert buffers_of(graph) == (Buffer(48, 0, 1, tensor=0), Buffer(3, 1, 1, tensor=2), *scratch)


def test_a_loop_spans_the_operators_of_what_it_runs() -> None:
    graph = read_graph(build(*control_flow()["while"]))
    # RELU is step 1 and WHILE starts at 2: its condition enters at 3 and runs at 4, its body at 5 and 6 to 8.
    assert spans_of(graph) == ((1, 1), (2, 8), (9, 9))
    inside = {(b.subgraph, b.tensor): (b.first, b.last) for b in buffers_of(graph)}
    assert inside[1, 3] == (4, 4)
    assert inside[2, 5] == (8, 8)
    assert inside[0, 1] == (0, 9)


def test_a_graph_nothing_runs_still_takes_room() -> None:
    main, condition, _ = control_flow()["while"]
    alone = Graph(main.tensors[:3], main.ops[:1], [1], [2])
    graph = read_graph(build(alone, condition))
    assert {(b.first, b.last) for b in buffers_of(graph) if b.subgraph == 1} == {(-1, -1)}


def random_graph(seed: int) -> Graph:
    """Element-wise operators on maps of different sizes: chains, branches, joins, results nobody reads."""
    dice = random.Random(seed)
    shapes = [(1, dice.randint(1, 9), dice.randint(1, 9), dice.randint(1, 9)) for _ in range(3)]
    tensors = [Tensor(shape) for shape in shapes]
    ops = []
    for _ in range(dice.randint(2, 25)):
        one = dice.randrange(len(tensors))
        equal = [i for i, t in enumerate(tensors) if t.shape == tensors[one].shape]
        kind, read = ("ADD", [one, dice.choice(equal)]) if dice.random() < 0.5 else ("RELU", [one])
        tensors.append(Tensor(tensors[one].shape))
        ops.append(Op(kind, read, [len(tensors) - 1], ("AddOptions", {}) if kind == "ADD" else None))
    tensors += [Tensor((1, 7))] * dice.randint(0, 2)
    outputs = sorted(dice.sample([op.outputs[0] for op in ops], dice.randint(1, 2)))
    return Graph(tensors, ops, range(3), outputs)


def offline(seed: int) -> bytes:
    """A random graph whose file gives some of its tensors an offset, so that nothing overlaps."""
    graph, dice = random_graph(seed), random.Random(seed)
    stacked, offsets = 0, []
    for tensor in graph.tensors:
        given = dice.random() < 0.4
        offsets.append(stacked if given else -1)
        size = tensor.shape[0] * tensor.shape[1] * (tensor.shape[2] * tensor.shape[3] if len(tensor.shape) > 2 else 1)
        stacked += -(-size // 16) * 16 if given else 0
    return build(graph, offline=offsets)


@pytest.mark.slow
def test_random_graphs_take_what_the_interpreter_takes(tmp_path: Path) -> None:
    models = {f"plain{seed}": build(random_graph(seed)) for seed in range(60)}
    models |= {f"offline{seed}": offline(seed) for seed in range(60)}
    profiles = {name: profile_tflite(data) for name, data in models.items()}
    predicted = {name: Arena(p.head_bytes, p.tail_bytes) for name, p in profiles.items()}
    assert predicted == allocations(models, tmp_path)
    planned = [profile_graph(read_graph(build(random_graph(seed)))).head_bytes for seed in range(60)]
    assert planned != [predicted[f"offline{seed}"].head for seed in range(60)]


@pytest.mark.slow
def test_offline_offsets_go_on_from_graph_to_graph(tmp_path: Path) -> None:
    graphs = control_flow()["while"]
    count = sum(len(graph.tensors) for graph in graphs)
    in_body = sum(len(graph.tensors) for graph in graphs[:2]) + 4
    offsets = [4096 if i == in_body else -1 for i in range(count)]
    data = build(*graphs, offline=offsets)
    graph = read_graph(data)
    ((place, offset),) = fixed_offsets(graph, buffers_of(graph)).items()
    assert (buffers_of(graph)[place].subgraph, buffers_of(graph)[place].tensor, offset) == (2, 4, 4096)
    profile = profile_tflite(data)
    assert allocations({"loop": data}, tmp_path) == {"loop": Arena(profile.head_bytes, profile.tail_bytes)}
    assert profile.head_bytes == 4096 + 192


def test_offline_offsets_are_given_by_place() -> None:
    graph = read_graph(build(random_graph(1), offline=[-1, 32, 0, *[-1] * (len(random_graph(1).tensors) - 3)]))
    assert fixed_offsets(graph, buffers_of(graph)) == {1: 32, 2: 0}
