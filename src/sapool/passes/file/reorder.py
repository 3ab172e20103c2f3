"""Operators of the ``.tflite`` in an order that needs less memory. Exact to the bit: each still gets the same inputs.

Tensors live from the operator that writes them to the last that reads them, so the order decides what is alive
together: an average pool of a large map that runs before the branch beside it lets that map die early. A beam search
over the sets of operators that can have run (Liberis and Lane, arXiv 1910.05110, search them all) minimises the bytes
alive at the worst moment; then single operators are moved while the runtime's own greedy placement, which may waste
room, gets smaller by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sapool.memory import Buffer, buffers_of, lower_bound
from sapool.memory.lifetimes import spans_of
from sapool.memory.planners import aligned
from sapool.passes.file._predict import cost_with_tiles, predicted_head
from sapool.tflite import Graph
from sapool.tflite.edit import is_plain

BEAM = 32
# Bounds on the work, so that large models take seconds: states looked at, orders placed, and pairs of buffers in all.
MOST_STATES = 2_000_000
MOST_PLACED = 300
MOST_TRIED = 4
MOST_PAIRS = 12_000_000


def reorder_operators(graph: Graph) -> int:
    """Reorder a main graph's operators in place where that lowers the predicted head; returns 1 if it does, or 0.

    A model with variables or a memory plan of its own is left as it is.
    """
    if not is_plain(graph):
        return 0

    def cost(order: tuple[int, ...]) -> tuple[int, int]:
        return cost_with_tiles(_in_order(graph, order))[0], _placed(graph, order)

    order = min(good_orders(graph), key=cost)  # of equals the first: the order as it is
    if order == tuple(range(len(graph.operators))):
        return 0
    graph.take_over(_in_order(graph, order))
    return 1


def good_orders(graph: Graph) -> list[tuple[int, ...]]:
    """Return orders of a graph's operators whose predicted head is no larger than as they are, planned offline or not.

    Args:
        graph: operators without state, in an order that they can run in.

    Returns:
        Places of the operators, in each new order: every one after those whose outputs it reads. The order as it is
        comes first, then the best ones found.
    """
    search = _Search.of(graph)
    given = tuple(range(len(graph.operators)))
    limit, planned = _placed(graph, given), _placed(graph, given, planned=True)
    found = {order: head for order in (given, *_beam(search)) if (head := _placed(graph, order)) <= limit}
    ranked = sorted(found, key=lambda order: found[order])[:MOST_TRIED]
    moved = _moved(search, graph, found[ranked[0]], ranked[0])
    orders = [order for order in (moved, *ranked) if _placed(graph, order, planned=True) <= planned]
    return list(dict.fromkeys((given, *orders)))


def _placed(graph: Graph, order: Sequence[int], planned: bool = False) -> int:
    return predicted_head(_in_order(graph, order), planned)


def _in_order(graph: Graph, order: Sequence[int]) -> Graph:
    ordered = graph.copy()
    ordered.set_operators(graph.operators[i] for i in order)
    return ordered


@dataclass(frozen=True)
class _Search:
    """What the search asks of a graph; sets of operators are integers, operator ``i`` the bit ``1 << i``.

    Attributes:
        needs: for each operator, those that must run before it.
        made: for each operator, the bytes of its outputs.
        scratch: for each operator, the bytes it needs while it runs.
        read: for each operator, (bytes, readers) of what it reads or writes; alive until all readers have run.
        start: bytes alive before the first operator.
    """

    needs: tuple[int, ...]
    made: tuple[int, ...]
    scratch: tuple[int, ...]
    read: tuple[tuple[tuple[int, int], ...], ...]
    start: int

    @classmethod
    def of(cls, graph: Graph) -> _Search:
        sizes, scratch = _sizes(graph)
        readers, makers = [0] * len(graph.tensors), [0] * len(graph.tensors)
        for i, op in enumerate(graph.operators):
            for tensor in op.outputs:
                makers[tensor] |= 1 << i
            for tensor in op.inputs:
                if tensor >= 0:
                    readers[tensor] |= 1 << i
        forever = 1 << len(graph.operators)  # an operator that never runs reads the results
        for tensor in graph.outputs:
            readers[tensor] |= forever
        needs, made, read = [], [], []
        for op in graph.operators:
            inputs = {t for t in op.inputs if t >= 0}
            needs.append(_union(makers[t] for t in inputs))
            made.append(sum(sizes[t] for t in op.outputs))
            read.append(tuple((sizes[t], readers[t]) for t in sorted(inputs | set(op.outputs)) if sizes[t]))
        start = sum(sizes[t] for t in graph.inputs)
        return cls(tuple(needs), tuple(made), tuple(scratch), tuple(read), start)

    def after(self, done: int, alive: int, operator: int) -> tuple[int, int]:
        """Return the bytes alive while an operator runs, and after it."""
        during = alive + self.made[operator] + self.scratch[operator]
        done |= 1 << operator
        dead = sum(size for size, readers in self.read[operator] if not readers & ~done)
        return during, alive + self.made[operator] - dead


def _sizes(graph: Graph) -> tuple[list[int], list[int]]:
    """Return each tensor's bytes, and what else is alive while each operator runs: scratch, and the graphs it runs."""
    sizes, scratch = [0] * len(graph.tensors), [0] * len(graph.operators)
    inside: list[Buffer] = []
    for buffer in buffers_of(graph):
        if buffer.subgraph > 0:
            inside.append(buffer)
        elif buffer.tensor >= 0:
            sizes[buffer.tensor] = aligned(buffer.size)
        else:
            scratch[buffer.operator] += aligned(buffer.size)
    for i, (start, end) in enumerate(spans_of(graph)):
        scratch[i] += lower_bound([b for b in inside if b.first <= end and b.last >= start])
    return sizes, scratch


def _union(sets: Iterator[int]) -> int:
    whole = 0
    for one in sets:
        whole |= one
    return whole


_State = tuple[int, int, int, tuple[int, ...], int]


def _beam(search: _Search) -> list[tuple[int, ...]]:
    """Return the orders that the search ends with, fewest bytes alive at the worst moment first."""
    count = len(search.needs)
    width = max(1, min(BEAM, MOST_STATES // max(1, count * count)))
    # Peak, then the squares of what is alive summed up: large maps that tiles take away must not hide all others.
    states: list[_State] = [(0, 0, search.start, (), 0)]
    for _ in range(count):
        best: dict[int, _State] = {}
        for peak, squares, alive, order, done in states:
            for operator in range(count):
                if done >> operator & 1 or search.needs[operator] & ~done:
                    continue
                during, left = search.after(done, alive, operator)
                known = done | 1 << operator
                state = (max(peak, during), squares + during**2, left, (*order, operator), known)
                if known not in best or state < best[known]:
                    best[known] = state
        states = sorted(best.values())[:width]
    return [order for _, _, _, order, _ in states]


def _moved(search: _Search, graph: Graph, head: int, order: tuple[int, ...]) -> tuple[int, ...]:
    """Move single operators as long as the head falls by it and the bound on the work allows."""
    left = min(MOST_PLACED, MOST_PAIRS // max(1, len(order)) ** 2)
    improved = True
    while improved and left > 0 and head > lower_bound(buffers_of(_in_order(graph, order))):
        improved = False
        for trial in _neighbours(search, order):
            left -= 1
            if (cost := _placed(graph, trial)) < head:
                head, order, improved = cost, trial, True
                break
            if left <= 0:
                break
    return order


def _neighbours(search: _Search, order: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield the orders in which one operator runs as early, or as late, as it can."""
    for place, operator in enumerate(order):
        earliest = max((i + 1 for i in range(place) if search.needs[operator] >> order[i] & 1), default=0)
        later = (i for i in range(place + 1, len(order)) if search.needs[order[i]] >> operator & 1)
        latest = next(later, len(order)) - 1
        without = order[:place] + order[place + 1 :]
        for target in (earliest, latest):
            if target != place:
                yield (*without[:target], operator, *without[target:])
