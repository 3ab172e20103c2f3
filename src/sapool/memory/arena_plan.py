"""The best plan of a whole graph's arena: sharing bytes where that changes nothing, then searching."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sapool.memory.aliasing import clusters_of
from sapool.memory.lifetimes import buffers_of
from sapool.memory.offline import STEPS, Cluster, best_offsets, lower_bound_of
from sapool.memory.planners import Buffer, head_of
from sapool.tflite import Graph


def plan_arena(graph: Graph, *, sharing: bool = True, steps: int = STEPS, seed: int = 0) -> tuple[int, ...]:
    """Place the buffers of a graph without control flow so that the arena's head is as small as is found.

    Never above the runtime's own greedy planner. The same arguments give the same plan on every machine.

    Args:
        graph: one graph; ``graph.subgraphs`` must be empty.
        sharing: whether tensors may share bytes where no output bit changes (:mod:`sapool.memory.aliasing`).
        steps: how many placements are tried at most, for each way of sharing.
        seed: of the search.

    Returns:
        One offset in bytes for each of :func:`sapool.memory.lifetimes.buffers_of`.

    Raises:
        ValueError: the graph has control flow.
    """
    if graph.subgraphs:
        raise ValueError(f"a graph to plan must have no control flow, got {len(graph.subgraphs)} graphs that it runs")
    buffers = buffers_of(graph)
    ways = sorted(_ways(graph, buffers, sharing), key=lambda clusters: lower_bound_of(buffers, clusters))
    best = best_offsets(buffers, ways[0], steps=steps, seed=seed)
    for clusters in ways[1:]:
        if lower_bound_of(buffers, clusters) < head_of(buffers, best):
            tried = best_offsets(buffers, clusters, steps=steps, seed=seed)
            best = min(best, tried, key=lambda offsets: head_of(buffers, offsets))
    return best


def _ways(graph: Graph, buffers: Sequence[Buffer], sharing: bool) -> Iterator[tuple[Cluster, ...]]:
    """Yield ways of sharing: whatever must lie together is harder to place, so that more isn't always better."""
    seen: set[tuple[Cluster, ...]] = set()
    if sharing:
        for joined in (True, False):
            for last_operand in (False, True):
                clusters = clusters_of(graph, buffers, joined=joined, last_operand=last_operand)
                if clusters and clusters not in seen:
                    seen.add(clusters)
                    yield clusters
    yield ()
