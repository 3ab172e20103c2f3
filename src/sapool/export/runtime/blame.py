"""Which operator of a ``.tflite`` an interpreter died of: from what it said, or by running ever shorter beginnings."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sapool.base.tflm_limits import MOST_KEYS
from sapool.tflite import Graph, Operator, Quantization, Tensor, read_graph, write_graph

_NUMBERED = (
    re.compile(r"Node \S+ \(number (\d+)f?\) failed to"),  # TFLM
    re.compile(r"Node number (\d+) \([^)]*\) failed to"),  # LiteRT
    re.compile(r"Op#(\d+) \(\w+\) of subgraph 0 has dynamic tensor"),  # TFLM
)
_LACKING_WORDS = ("Didn't find op", "Failed to get registration from op code", "unresolved custom op")
_LACKING = re.compile(r"Didn't find op for builtin opcode '(\w+)'")


@dataclass(frozen=True)
class Culprit:
    """The operator at fault: its place in the main graph, its kind, what it makes and, where known, why."""

    operator: int
    kind: str
    tensor: str
    cause: str

    def __str__(self) -> str:
        """Return ``operator 12 (SOFTMAX, which makes 'attention;4')``."""
        return f"operator {self.operator} ({self.kind}, which makes {self.tensor!r})"


def find_culprit(data: bytes, said: str, fails: Callable[[bytes], bool]) -> Culprit | None:
    """Name the operator that an interpreter refuses or dies of.

    Args:
        data: the ``.tflite`` that fails.
        said: what the interpreter said.
        fails: whether another ``.tflite`` fails as well; called about log2(operators) times if ``said`` names none.

    Returns:
        The operator, or None where the failure belongs to no operator (the process dies without any, say).
    """
    graph = read_graph(data, fixed=False)
    kinds = [operator.kind for operator in graph.operators]
    index = _named(said, kinds)
    if index is None:
        index = _bisect(data, len(kinds), fails)
    if index is None:
        return None
    op = graph.operators[index]
    tensor = graph.tensors[op.outputs[0]].name if op.outputs else ""
    return Culprit(index, op.kind, tensor, _known_cause(graph, op, said))


def truncate(data: bytes, count: int) -> bytes:
    """Return a ``.tflite`` with the first ``count`` operators alone; it gives what the last of them makes.

    With none left it gives its own input.
    """
    graph = read_graph(data, fixed=False)
    graph.set_operators(graph.operators[:count])
    graph.set_outputs(graph.operators[-1].outputs[:1] if count else graph.inputs[:1])
    graph.signatures = ()
    return write_graph(graph)


def _named(said: str, kinds: Sequence[str]) -> int | None:
    for pattern in _NUMBERED:
        if found := pattern.search(said):
            index = int(found[1])
            return index if index < len(kinds) else None
    lacking = _LACKING.search(said)
    return kinds.index(lacking[1]) if lacking and lacking[1] in kinds else None


def _bisect(data: bytes, count: int, fails: Callable[[bytes], bool]) -> int | None:
    """Return the last operator of the shortest beginning that fails."""
    if fails(truncate(data, 0)):
        return None  # it fails without any operator
    works, dies = 0, count
    while dies - works > 1:
        middle = (works + dies) // 2
        if fails(truncate(data, middle)):
            dies = middle
        else:
            works = middle
    # What only fails as a whole (its output's type, say) is no operator's fault.
    return dies - 1 if dies < count or fails(truncate(data, count)) else None


def _known_cause(graph: Graph, op: Operator, said: str) -> str:
    """Return what a silent death or a terse message is known to mean, or an empty text."""
    if any(words in said for words in _LACKING_WORDS):
        return "this interpreter has no such operator: build the network without it"
    if "zero_point was not true" in said:
        return "its int8 divisor reaches zero: export the pooling as a soft-max inside the window"
    first = graph.tensors[op.inputs[0]] if op.inputs and op.inputs[0] >= 0 else None
    if said or op.kind != "SOFTMAX" or first is None or first.dtype != "int8":
        return ""
    keys = first.shape[-1]
    if keys <= MOST_KEYS:
        return ""
    return f"its rows have {keys} keys, int8 soft-max can bear {MOST_KEYS}: lower max_keys"


def one_operator(kind: str) -> bytes:
    """Return a ``.tflite`` of one operator without options: enough to ask an interpreter whether it has it.

    Args:
        kind: a builtin operator's name; any other is a custom operator's.
    """
    tensors = [Tensor(name, (1, 1), quantization=Quantization((1.0,), (0,))) for name in ("in", "out")]
    return write_graph(Graph(tensors, [Operator(kind, (0,), (1,))], [0], [1]))
