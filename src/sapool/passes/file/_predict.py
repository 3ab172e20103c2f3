"""What the arena of a graph will be, for passes that weigh the head against the tail."""

from __future__ import annotations

from sapool.memory import buffers_of, fixed_offsets, greedy_offsets, head_of, tail_bytes
from sapool.memory.arena_plan import plan_arena
from sapool.passes.file.tile_prefix import tile_prefix
from sapool.tflite import Graph

# Planning more operators offline takes seconds each time: beyond this the runtime's own planner stands in for it.
MOST_PLANNED = 200


def predicted_cost(graph: Graph, planned: bool = True) -> tuple[int, int]:
    """Return the predicted bytes of a graph's arena, and the number of operators to decide between equals.

    Args:
        graph: may have control flow.
        planned: whether the arena gets a plan made offline; otherwise, and with control flow, which can't have one, the
            runtime's own planner places everything.
    """
    return predicted_head(graph, planned) + tail_bytes(graph), len(graph.operators)


def cost_with_tiles(graph: Graph, planned: bool = True) -> tuple[int, int]:
    """Return :func:`predicted_cost` of a graph as it is or with its first maps in tiles, whichever is less.

    Large maps that tiles take away later must not hide what else fills the arena.
    """
    tiled = graph.copy()
    costs = [predicted_cost(graph, planned)]
    if tile_prefix(tiled):
        costs.append(predicted_cost(tiled, planned))
    return min(costs)


def predicted_head(graph: Graph, planned: bool = True) -> int:
    """Return the predicted bytes of the arena's head; for ``planned`` see :func:`predicted_cost`."""
    buffers = buffers_of(graph)
    if planned and len(graph.operators) <= MOST_PLANNED and not graph.subgraphs and not graph.offline:
        return head_of(buffers, plan_arena(graph, steps=0))
    return head_of(buffers, greedy_offsets(buffers, fixed_offsets(graph, buffers)))
