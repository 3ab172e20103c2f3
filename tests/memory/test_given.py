from __future__ import annotations

from pathlib import Path

from sapool.memory import buffers_of, head_without_inputs, profile_graph
from sapool.memory.given import _copies
from sapool.tflite import Graph, read_graph
from tests.graphs import make_operator, make_tensor, with_plan


def chain(*sizes: int) -> Graph:
    tensors = tuple(make_tensor(str(i), (size,)) for i, size in enumerate(sizes))
    operators = tuple(make_operator("MAX_POOL_2D", (i,), (i + 1,)) for i in range(len(sizes) - 1))
    return Graph(tensors, operators, (0,), (len(sizes) - 1,))


def test_the_input_is_not_counted_and_what_follows_is() -> None:
    graph = chain(1600, 320, 160)
    assert profile_graph(graph).head_bytes == 1920
    assert head_without_inputs(graph) == 480


def test_without_room_for_the_input_nothing_else_changes() -> None:
    """The peak is behind the input: leaving it out saves nothing."""
    graph = chain(16, 800, 800)
    assert head_without_inputs(graph) == profile_graph(graph).head_bytes == 1600


def looped(offsets: tuple[int, ...] = ()) -> Graph:
    """A loop that carries the input and fills a map; its body slices the input."""
    outer = tuple(make_tensor(name, (size,)) for name, size in (("image", 960), ("map", 64), ("i", 960), ("m", 64)))
    inner = (*(make_tensor(name, (size,)) for name, size in (("image", 960), ("map", 64), ("tile", 96), ("out", 64))),)
    condition = (*inner[:2], make_tensor("left", (1,), "bool"))
    body = Graph(inner, (make_operator("SLICE", (0,), (2,)), make_operator("MAX_POOL_2D", (2,), (3,))), (0, 1), (0, 3))
    test = Graph(condition, (make_operator("LESS", (0,), (2,)),), (0, 1), (2,))
    loop = make_operator("WHILE", (0, 1), (2, 3), {"condSubgraphIndex": 1, "bodySubgraphIndex": 2})
    fill = make_operator("FILL", (), (1,))
    return with_plan(Graph(outer, (fill, loop), (0,), (3,), subgraphs=(test, body)), offsets or None)


def test_copies_that_a_loop_makes_of_the_input_are_the_input() -> None:
    #           image map i  m    image map left  image map tile out
    together = (0, 960, 0, 960, 0, 960, -1, 0, 960, -1, 960)
    graph = looped(together)
    assert [sorted(group) for group in _copies(graph)] == [
        [(0, 0), (0, 2), (1, 0), (2, 0)],
        [(0, 1), (0, 3), (1, 1), (2, 1), (2, 3)],
    ]
    assert head_without_inputs(graph) == 64 + 96
    # Without the file's word that they are one place, they are copies that take room.
    apart = with_plan(graph, None)
    assert _copies(apart) == []
    assert head_without_inputs(apart) > 960


def test_a_real_file_needs_at_most_the_image_less(exported: Path) -> None:
    graph = read_graph(exported)
    (image,) = (graph.tensors[place].bytes for place in graph.inputs)
    head = profile_graph(graph).head_bytes
    assert head - image <= head_without_inputs(graph) < head
    assert sum(buffer.first == 0 for buffer in buffers_of(graph)) == 1
