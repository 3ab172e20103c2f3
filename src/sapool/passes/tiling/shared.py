"""Letting tensors of several subgraphs lie at one place of the arena.

TensorFlow Lite Micro copies a loop's variables from graph to graph: each would be in the arena four times. It takes
given offsets from the metadata ``OfflineMemoryAllocation`` and never checks them for overlaps, so one place for all
copies is enough; the copies then copy onto themselves. LiteRT ignores the metadata.

The list holds the main graph's tensors, then each subgraph's. Runtimes differ: some look up every subgraph's tensors
from the start of the list (``micro_allocation_info.cc`` of 2022), some from where its own part starts (measured on the
wheel of October 2026). So that both find the same, tensors with an offset come first in every subgraph, in one order of
offsets, where a constant, which needs no room, stands in for what a subgraph lacks; and the main graph has at least as
many tensors as any subgraph has before its other constants, which come last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set

from sapool.memory.lifetimes import buffers_of
from sapool.memory.offline import best_offsets
from sapool.memory.planners import Buffer, greedy_offsets, head_of
from sapool.tflite import Graph

Place = tuple[int, int]  # (subgraph, tensor)

# How many placements a search for better ones may try.
_PLANS = 40
_RUNTIME_PLANS = -1


def share_places(main: Graph, shared: Sequence[Set[Place]]) -> None:
    """Give every set of tensors one place in the arena, where that takes the least head; what nothing uses goes.

    The main graph's other tensors get places too where that helps; inside the loops the runtime places them.

    Args:
        main: a main graph without given offsets, changed in place.
        shared: tensors of one size that hold the same values whenever two of them are alive.
    """
    moved = main.drop_unused()
    kept = [sorted((g, moved[g][t]) for g, t in places if t in moved[g]) for places in shared]
    buffers = buffers_of(main)
    index = {(b.subgraph, b.tensor): i for i, b in enumerate(buffers) if b.tensor >= 0}
    clusters = [[index[place] for place in places] for places in kept]
    best = min(_candidates(buffers, clusters), key=lambda fixed: head_of(buffers, greedy_offsets(buffers, fixed)))
    together = {i for cluster in clusters for i in cluster}
    places = {(buffers[i].subgraph, buffers[i].tensor): best[i] for i in together}
    alone = {buffers[i].tensor: offset for i, offset in best.items() if i not in together}
    _give_offsets(main, places, alone)


def _candidates(buffers: Sequence[Buffer], clusters: Sequence[Sequence[int]]) -> Iterator[dict[int, int]]:
    """Yield offsets by buffer: as the runtime's planner, and as better ones, would place whole clusters."""
    whole = [_as_one([buffers[i] for i in cluster]) for cluster in clusters]
    inside = {i for cluster in clusters for i in cluster}
    others = [buffer for i, buffer in enumerate(buffers) if i not in inside]

    def fixed(offsets: Sequence[int]) -> dict[int, int]:
        return {i: offset for cluster, offset in zip(clusters, offsets, strict=True) for i in cluster}

    yield fixed(greedy_offsets(whole))
    yield fixed(greedy_offsets([*others, *whole])[len(others) :])
    # Each as low as it goes, the last alive first: what a loop makes before the large map that it reads no more.
    found: dict[int, int] = {}
    for i in sorted(range(len(whole)), key=lambda i: (-whole[i].last, whole[i].size)):
        found[i] = greedy_offsets([*(whole[o] for o in found), whole[i]], dict(enumerate(found.values())))[-1]
    yield fixed([found[i] for i in range(len(whole))])
    planned = best_offsets(buffers, [tuple((i, 0) for i in cluster) for cluster in clusters], steps=_PLANS)
    yield fixed([planned[cluster[0]] for cluster in clusters])
    main = {i for i, buffer in enumerate(buffers) if buffer.tensor >= 0 and buffer.subgraph == 0}
    yield {i: planned[i] for i in sorted(inside | main)}


def _as_one(buffers: Sequence[Buffer]) -> Buffer:
    return Buffer(buffers[0].size, min(b.first for b in buffers), max(b.last for b in buffers))


def _give_offsets(main: Graph, offsets: Mapping[Place, int], alone: Mapping[int, int]) -> None:
    """Write offsets in bytes into a main graph; the runtime plans all tensors that have none.

    The tensors of every subgraph are put in another order, and constants may come twice.

    Args:
        main: changed in place.
        offsets: of (subgraph, tensor), several of which may share an offset.
        alone: of tensors of the main graph that share none.
    """
    slots = _slots(len(main.graphs), offsets)
    longest = 0
    for index, graph in enumerate(main.subgraphs, start=1):
        order = _order(graph, slots, _of_graph(offsets, index))
        constants = sum(graph.is_constant(t) for t in order[len(slots) :])
        longest = max(longest, len(order) - constants)
        graph.keep_tensors(order)
    order = [t for t in _order(main, slots, _of_graph(offsets, 0)) if t not in alone]
    filler = next(tensor for tensor in main.tensors if tensor.constant is not None)
    while len(order) < longest:  # what has an offset of its own comes behind all places that a subgraph may look up
        order.append(main.add_tensor(filler))
    main.keep_tensors([*order, *sorted(alone)])
    listed = slots + [_RUNTIME_PLANS] * (len(order) - len(slots)) + [alone[t] for t in sorted(alone)]
    for graph in main.subgraphs:
        listed += slots + [_RUNTIME_PLANS] * (len(graph.tensors) - len(slots))
    main.set_offline(listed)


def _of_graph(offsets: Mapping[Place, int], graph: int) -> dict[int, list[int]]:
    """Return the tensors of one subgraph by their offset."""
    found: dict[int, list[int]] = {}
    for (g, tensor), offset in sorted(offsets.items()):
        if g == graph:
            found.setdefault(offset, []).append(tensor)
    return found


def _slots(graphs: int, offsets: Mapping[Place, int]) -> list[int]:
    """Return the offsets at the start of every subgraph's tensors: each as often as some subgraph needs it."""
    most: Counter[int] = Counter()
    for index in range(graphs):
        most |= Counter(offset for (graph, _), offset in offsets.items() if graph == index)
    return sorted(most.elements())


def _order(graph: Graph, slots: Sequence[int], mine: dict[int, list[int]]) -> list[int]:
    """Return the order of a subgraph's used tensors; constants stand where it has no tensor for an offset."""
    used = sorted(graph.used())
    fillers = [t for t in used if graph.is_constant(t)]
    template, order = fillers[0], []
    for offset in slots:
        if mine.get(offset):
            order.append(mine[offset].pop(0))
            continue
        if not fillers:
            fillers.append(graph.add_tensor(graph.tensors[template]))
        order.append(fillers.pop(0))
    left = [t for t in used if t not in order]
    return order + sorted(left, key=graph.is_constant)
