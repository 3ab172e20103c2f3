"""Attention scores of some queries at a time, made on the ``.tflite``. Exact to the bit.

A row of ``softmax(Q K^T) V`` depends on one query only, so the queries can be split, and of L x K scores only a chunk
is ever stored (twice: the soft-max is not in place). One SPLIT makes all chunks: together they are as large as the
queries, which then die. (Chunks written in PyTorch may be merged again by the converter.) Every chunk costs three
operators in the arena's tail, so the number of chunks is the one that the predicted total is least with: often none,
where something else fills the arena.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from sapool.base.tflm_limits import MOST_JOINED
from sapool.passes.file._predict import cost_with_tiles, light_copy
from sapool.passes.file._unused import drop_unused
from sapool.tflite.edit import FileGraph, elements, is_plain

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


def chunk_queries(model: Any, *, planned: bool = True) -> int:
    """Split the queries of attentions where the predicted arena falls by it.

    Args:
        model: a ``ModelT``, changed in place; with variables or a memory plan of its own it is left.
        planned: whether the arena is planned offline at the end, which bears larger chunks than the runtime's planner
            (with control flow it can't be).

    Returns:
        How many attentions were split.
    """
    if not is_plain(model):
        return 0
    chains = _chains(FileGraph(model))
    best, best_counts = cost_with_tiles(model, planned), [1] * len(chains)
    worse = 0
    for counts in _candidates(chains):
        trial = light_copy(model)
        _split_all(trial, chains, counts)
        cost = cost_with_tiles(trial, planned)
        worse = 0 if cost < best else worse + 1
        if cost < best:
            best, best_counts = cost, counts
        elif worse == PATIENCE:
            break
    if max(best_counts, default=1) > 1:
        _split_all(model, chains, best_counts)
    return sum(count > 1 for count in best_counts)


def _candidates(chains: list[_Chain]) -> list[list[int]]:
    """Return the numbers of chunks a chain to try: one budget of bytes for the scores of all chains after another."""
    sizes = {c.score_bytes // n for c in chains for n in range(2, MOST_CHUNKS + 1) if c.length % n == 0}
    found = [[chain.chunks_within(budget) for chain in chains] for budget in sorted(sizes, reverse=True)]
    return [counts for i, counts in enumerate(found) if counts not in found[:i]]


def _chains(graph: FileGraph) -> list[_Chain]:
    found = (_chain(graph, place) for place, kind in enumerate(graph.kinds) if kind == "SOFTMAX")
    return [chain for chain in found if chain is not None]


def _chain(graph: FileGraph, softmax: int) -> _Chain | None:
    """Return the attention around a SOFTMAX whose rows go their own ways; None where there is no such thing."""
    op = graph.graph.operators[softmax]
    before, after = graph.makers.get(int(op.inputs[0])), graph.only_reader(int(op.outputs[0]))
    if before is None or after is None or graph.only_reader(int(op.inputs[0])) is None:
        return None
    if not _is_product(graph, before) or not _is_product(graph, after):
        return None
    if int(graph.graph.operators[after].inputs[0]) != int(op.outputs[0]):
        return None
    rows = graph.shape(int(op.inputs[0]))[:-1]
    axis = next((i for i, n in enumerate(rows) if n > 1), None)
    if axis is None:
        return None
    size = elements(graph.shape(int(op.inputs[0])))
    return _Chain(before, softmax, after, axis, rows[axis], size)


def _is_product(graph: FileGraph, place: int) -> bool:
    """Whether an operator multiplies the rows of its first input by one matrix, all of them alike."""
    if graph.kinds[place] != "BATCH_MATMUL":
        return False
    op = graph.graph.operators[place]
    rows, matrix = (graph.shape(int(t)) for t in op.inputs)
    made = graph.shape(int(op.outputs[0]))
    return not op.builtinOptions.adjX and elements(matrix[:-2]) == 1 and rows[:-1] == made[:-1]


def _split_all(model: Any, chains: list[_Chain], counts: list[int]) -> None:
    """Split the queries of each chain into its number of chunks, 1: not at all."""
    graph = FileGraph(model)
    gone: set[int] = set()
    instead: dict[int, list[Any]] = {}
    for chain, count in zip(chains, counts, strict=True):
        if count > 1:
            gone |= {chain.scores, chain.softmax}
            # Where the last of the three was: everything that the first two read is there by then.
            instead[chain.product] = _chunked(graph, chain, count)
    operators = []
    for place, op in enumerate(graph.graph.operators):
        operators += instead.get(place, [] if place in gone else [op])
    graph.graph.operators = operators
    drop_unused(model)  # the whole scores: even unread they would have room of their own


def _chunked(graph: FileGraph, chain: _Chain, count: int) -> list[Any]:
    """Return the operators that do what a chain does, chunk after chunk."""
    scores, softmax, product = (graph.graph.operators[i] for i in (chain.scores, chain.softmax, chain.product))
    queries, made = int(scores.inputs[0]), int(product.outputs[0])
    parts = [_part(graph, queries, chain, count, i) for i in range(count)]
    split = graph.operator(
        "SPLIT", [graph.new_integers([chain.axis], "axis", scalar=True), queries], parts, "SplitOptions"
    )
    split.builtinOptions.numSplits = count
    operators, results = [split], []
    for i, part in enumerate(parts):
        for op in (scores, softmax, product):
            new = copy.copy(op)
            new.inputs = [part, *(int(t) for t in op.inputs[1:])]
            part = _part(graph, int(op.outputs[0]), chain, count, i)
            new.outputs = [part]
            operators.append(new)
        results.append(part)
    return operators + _joined(graph, results, made, chain.axis)


def _part(graph: FileGraph, whole: int, chain: _Chain, count: int, index: int) -> int:
    shape = list(graph.shape(whole))
    shape[chain.axis] //= count
    return graph.new_tensor(whole, shape, f"{index}")


def _joined(graph: FileGraph, parts: list[int], made: int, axis: int) -> list[Any]:
    """Return the CONCATENATIONs of ``parts`` to ``made``, in stages where they are too many for one."""
    operators = []
    while len(parts) > MOST_JOINED:
        groups = [parts[i : i + MOST_JOINED] for i in range(0, len(parts), MOST_JOINED)]
        parts = []
        for index, group in enumerate(groups):
            shape = list(graph.shape(made))
            shape[axis] = sum(graph.shape(part)[axis] for part in group)
            parts.append(graph.new_tensor(made, shape, f"joined{index}"))
            operators.append(_concatenation(graph, group, parts[-1], axis))
    return [*operators, _concatenation(graph, parts, made, axis)]


def _concatenation(graph: FileGraph, parts: list[int], made: int, axis: int) -> Any:
    op = graph.operator("CONCATENATION", parts, [made], "ConcatenationOptions")
    op.builtinOptions.axis = axis
    return op
