"""Attention scores of some queries at a time, made on the file itself. Exact to the bit.

A row of ``softmax(Q K^T) V`` depends on one query only, so the queries can be split, and of L x K scores only a chunk
is ever stored (twice: the soft-max is not in place). One SPLIT makes all chunks: together they are as large as the
queries, which then die. (Chunks written in PyTorch may be merged again by the converter.) Every chunk costs three
operators in the arena's tail, so the number of chunks is the one that the predicted total is least with: often none,
where something else fills the arena.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sapool.base.tflm_limits import MOST_JOINED
from sapool.passes.file._predict import cost_with_tiles
from sapool.tflite import Graph, Operator
from sapool.tflite.edit import make_operator, may_rewrite

MOST_CHUNKS = 64
# So many numbers of chunks in a row that are no better end the search: more only cost more operators.
PATIENCE = 3


@dataclass(frozen=True)
class _Chain:
    """BATCH_MATMUL, SOFTMAX, BATCH_MATMUL: where they are, and along which axis the queries can be split."""

    scores: int
    softmax: int
    product: int
    axis: int
    length: int
    score_bytes: int

    def chunks_within(self, budget: int) -> int:
        """Return the least number of equal chunks whose scores take at most ``budget`` bytes each, or else the most."""
        counts = [c for c in range(1, min(self.length, MOST_CHUNKS) + 1) if self.length % c == 0]
        return next((c for c in counts if self.score_bytes // c <= budget), counts[-1])


def chunk_queries(graph: Graph, *, planned: bool = True) -> int:
    """Split the queries of attentions where the predicted arena falls by it.

    Args:
        graph: a main graph, changed in place; with a memory plan of its own it is left.
        planned: whether the arena is planned offline at the end, which bears larger chunks than the runtime's planner
            (with control flow it can't be).

    Returns:
        How many attentions were split.
    """
    if not may_rewrite(graph):
        return 0
    chains = _chains(graph)
    best, best_counts, best_graph = cost_with_tiles(graph, planned), [1] * len(chains), graph
    worse = 0
    for counts in _candidates(chains):
        trial = graph.copy()
        _split_all(trial, chains, counts)
        cost = cost_with_tiles(trial, planned)
        worse = 0 if cost < best else worse + 1
        if cost < best:
            best, best_counts, best_graph = cost, counts, trial
        elif worse == PATIENCE:
            break
    if best_graph is not graph:
        graph.take_over(best_graph)
    return sum(count > 1 for count in best_counts)


def _candidates(chains: list[_Chain]) -> list[list[int]]:
    """Return the numbers of chunks a chain to try: one budget of bytes for the scores of all chains after another."""
    sizes = {c.score_bytes // n for c in chains for n in range(2, MOST_CHUNKS + 1) if c.length % n == 0}
    found = [[chain.chunks_within(budget) for chain in chains] for budget in sorted(sizes, reverse=True)]
    return [counts for i, counts in enumerate(found) if counts not in found[:i]]


def _chains(graph: Graph) -> list[_Chain]:
    found = (_chain(graph, place, op) for place, op in graph.of_kind("SOFTMAX"))
    return [chain for chain in found if chain is not None]


def _chain(graph: Graph, softmax: int, op: Operator) -> _Chain | None:
    """Return the attention around a SOFTMAX whose rows go their own ways; None where there is no such thing."""
    before, after = graph.makers.get(op.inputs[0]), graph.only_reader(op.outputs[0])
    if before is None or after is None or graph.only_reader(op.inputs[0]) is None:
        return None
    if not _is_product(graph, graph.operators[before]) or not _is_product(graph, graph.operators[after]):
        return None
    if graph.operators[after].inputs[0] != op.outputs[0]:
        return None
    scores = graph.tensors[op.inputs[0]]
    rows = scores.shape[:-1]
    axis = next((i for i, n in enumerate(rows) if n > 1), None)
    if axis is None:
        return None
    return _Chain(before, softmax, after, axis, rows[axis], scores.elements)


def _is_product(graph: Graph, op: Operator) -> bool:
    """Whether an operator multiplies the rows of its first input by one matrix, all of them alike."""
    if op.kind != "BATCH_MATMUL":
        return False
    rows, matrix = (graph.tensors[t].shape for t in op.inputs)
    made = graph.tensors[op.outputs[0]].shape
    return not op.options.flag("adjX") and math.prod(matrix[:-2]) == 1 and rows[:-1] == made[:-1]


def _split_all(graph: Graph, chains: list[_Chain], counts: list[int]) -> None:
    """Split the queries of each chain into its number of chunks, 1: not at all."""
    gone: set[int] = set()
    instead: dict[int, list[Operator]] = {}
    for chain, count in zip(chains, counts, strict=True):
        if count > 1:
            gone |= {chain.scores, chain.softmax}
            # Where the last of the three was: everything that the first two read is there by then.
            instead[chain.product] = _chunked(graph, chain, count)
    operators: list[Operator] = []
    for place, op in enumerate(graph.operators):
        operators += instead.get(place, [] if place in gone else [op])
    graph.set_operators(operators)
    graph.drop_unused()  # the whole scores: even unread they would have room of their own


def _chunked(graph: Graph, chain: _Chain, count: int) -> list[Operator]:
    """Return the operators that do what a chain does, chunk after chunk."""
    scores, softmax, product = (graph.operators[i] for i in (chain.scores, chain.softmax, chain.product))
    queries, made = scores.inputs[0], product.outputs[0]
    parts = [_part(graph, queries, chain, count, i) for i in range(count)]
    axis = graph.add_integers([chain.axis], "axis", scalar=True)
    operators, results = [make_operator("SPLIT", [axis, queries], parts, numSplits=count)], []
    for i, part in enumerate(parts):
        for op in (scores, softmax, product):
            inputs = (part, *op.inputs[1:])
            part = _part(graph, op.outputs[0], chain, count, i)
            operators.append(replace(op, inputs=inputs, outputs=(part,)))
        results.append(part)
    return [*operators, *_joined(graph, results, made, chain.axis)]


def _part(graph: Graph, whole: int, chain: _Chain, count: int, index: int) -> int:
    tensor = graph.tensors[whole]
    return graph.add_like(
        whole, _resized(tensor.shape, chain.axis, tensor.shape[chain.axis] // count), f"{tensor.name}.{index}"
    )


def _resized(shape: Sequence[int], axis: int, side: int) -> tuple[int, ...]:
    return (*shape[:axis], side, *shape[axis + 1 :])


def _joined(graph: Graph, parts: list[int], made: int, axis: int) -> Iterator[Operator]:
    """Yield the CONCATENATIONs of ``parts`` to ``made``, in stages where they are too many for one."""
    whole = graph.tensors[made]
    while len(parts) > MOST_JOINED:
        groups = [parts[i : i + MOST_JOINED] for i in range(0, len(parts), MOST_JOINED)]
        parts = []
        for index, group in enumerate(groups):
            side = sum(graph.tensors[part].shape[axis] for part in group)
            parts.append(graph.add_like(made, _resized(whole.shape, axis, side), f"{whole.name}.joined{index}"))
            yield make_operator("CONCATENATION", group, parts[-1:], axis=axis)
    yield make_operator("CONCATENATION", parts, [made], axis=axis)
