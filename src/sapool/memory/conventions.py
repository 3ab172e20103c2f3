"""Figures that are called a network's memory, beside the arena: each by its name, never "memory" alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate

from sapool.memory.planners import Buffer, greedy_offsets, head_of
from sapool.tflite import BYTES_OF, Graph, Operator

FLOAT32_BYTES = 4


def conventions_of(graph: Graph, buffers: Sequence[Buffer]) -> dict[str, int]:
    """Return the figures by name, in bytes; constants are in none of them.

    - "block in+out": the largest sum of what enters and leaves one block (:func:`blocks_of`).
    - "operator in+out": the same, an operator at a time.
    - "operator in+out, depthwise in place": the same where a depthwise convolution overwrites its input: the larger of
      the two counts.
    - "float32": the largest number of tensor elements alive at one operator, at 4 bytes each; no scratch.
    - "without the input image": the head where the model's inputs lie outside the arena.
    - "input image": those inputs' own bytes.
    """
    inputs = set(graph.inputs)
    outside = [b for b in buffers if b.subgraph or b.tensor not in inputs]
    return {
        "block in+out": max((_through(graph, block) for block in blocks_of(graph)), default=0),
        "operator in+out": max((in_out_bytes(graph, op) for op in graph.operators), default=0),
        "operator in+out, depthwise in place": max((_in_place(graph, op) for op in graph.operators), default=0),
        "float32": _float32_bytes(graph, buffers),
        "without the input image": head_of(outside, greedy_offsets(outside)),
        "input image": _bytes(graph, inputs),
    }


def _bytes(graph: Graph, tensors: Iterable[int]) -> int:
    """Sum the bytes of those tensors that are no constants."""
    return sum(graph.tensors[i].bytes for i in set(tensors) if i >= 0 and not graph.tensors[i].constant)


def in_out_bytes(graph: Graph, operator: Operator) -> int:
    """Return the bytes of an operator's inputs and outputs, each tensor once, without constants."""
    return _bytes(graph, (*operator.inputs, *operator.outputs))


def _in_place(graph: Graph, operator: Operator) -> int:
    if operator.kind != "DEPTHWISE_CONV_2D":
        return in_out_bytes(graph, operator)
    return max(_bytes(graph, operator.inputs), _bytes(graph, operator.outputs))


def _float32_bytes(graph: Graph, buffers: Sequence[Buffer]) -> int:
    changes: dict[int, int] = {}
    for buffer in buffers:
        if buffer.tensor >= 0:
            elements = buffer.size // BYTES_OF[graph.graphs[buffer.subgraph].tensors[buffer.tensor].dtype]
            changes[buffer.first] = changes.get(buffer.first, 0) + elements
            changes[buffer.last + 1] = changes.get(buffer.last + 1, 0) - elements
    most = alive = 0
    for step in sorted(changes):
        alive += changes[step]
        most = max(most, alive)
    return most * FLOAT32_BYTES


def blocks_of(graph: Graph) -> tuple[range, ...]:
    """Cut the main graph's operators into blocks: ranges of places in ``graph.operators``.

    Blocks end where exactly one activation is alive (so never inside a residual), and are joined over a depthwise
    convolution: it belongs to the same block as the convolution that follows it, and as the 1x1 convolution before it
    where that widens and the one behind narrows (an inverted bottleneck). Module names are not needed, so a file and a
    traced network give the same figure.
    """
    joined: set[int] = set()  # operators that stay in one block with the operator before them
    for first, last in _separable(graph):
        joined.update(range(first + 1, last + 1))
    crossing = _crossings(graph)
    starts = [i for i in range(len(graph.operators)) if i == 0 or (i not in joined and crossing[i] == 1)]
    return tuple(range(start, stop) for start, stop in zip(starts, [*starts[1:], len(graph.operators)], strict=True))


def _crossings(graph: Graph) -> list[int]:
    """Count, for each operator, the activations that are made before it and read by it or later."""
    end = len(graph.operators)
    made = dict.fromkeys(graph.inputs, 0)
    read: dict[int, int] = {}
    for i, operator in enumerate(graph.operators):
        read.update(dict.fromkeys(operator.inputs, i))
        for tensor in operator.outputs:
            made.setdefault(tensor, i + 1)
    read.update(dict.fromkeys(graph.outputs, end))
    counts = [0] * (end + 2)
    for tensor, start in made.items():
        if read.get(tensor, -1) >= start:
            counts[start] += 1
            counts[read[tensor] + 1] -= 1
    return list(accumulate(counts))


def _through(graph: Graph, block: range) -> int:
    """Return the bytes that enter and leave some operators in a row, without constants."""
    inside = {t for i in block for t in graph.operators[i].outputs}
    entering = {t for i in block for t in graph.operators[i].inputs} - inside
    read_later = {t for op in graph.operators[block.stop :] for t in op.inputs} | set(graph.outputs)
    return _bytes(graph, entering | (inside & read_later))


def _separable(graph: Graph) -> Iterable[tuple[int, int]]:
    """Yield (first, last) operator of each depthwise convolution with the convolutions it belongs to."""
    for i, operator in enumerate(graph.operators):
        if operator.kind == "DEPTHWISE_CONV_2D":
            size = _size(graph, operator)
            behind = next((j for j in range(i + 1, len(graph.operators)) if _dense(graph, j, size)), None)
            before = next((j for j in range(i - 1, -1, -1) if graph.operators[j].kind == "CONV_2D"), None)
            if behind is not None:
                bottleneck = before is not None and _widening(graph, before) > 1 > _widening(graph, behind)
                yield (before if bottleneck and before is not None else i), behind


def _size(graph: Graph, operator: Operator) -> tuple[int, ...]:
    return graph.tensors[operator.outputs[0]].shape[1:3]


def _dense(graph: Graph, place: int, size: tuple[int, ...]) -> bool:
    """Whether an operator is a convolution with a map of that size (squeeze-and-excitation's have one pixel)."""
    operator = graph.operators[place]
    return operator.kind == "CONV_2D" and _size(graph, operator) == size


def _widening(graph: Graph, place: int) -> float:
    """Return output over input channels of a 1x1 convolution; 1 for any other size."""
    out, *kernel, channels = graph.tensors[graph.operators[place].inputs[1]].shape
    return out / channels if math.prod(kernel) == 1 else 1.0
