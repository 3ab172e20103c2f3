"""Which operator of a ``.tflite`` an interpreter died of: from what it said, or by running ever shorter beginnings."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sapool.base.tflm_limits import MOST_KEYS
from sapool.tflite.file import operator_names, pack, parse, schema

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
    model = parse(data)
    kinds = operator_names(model)
    index = _named(said, kinds)
    if index is None:
        index = _bisect(data, len(kinds), fails)
    if index is None:
        return None
    op = model.subgraphs[0].operators[index]
    outputs = [] if op.outputs is None else op.outputs
    tensor = model.subgraphs[0].tensors[outputs[0]].name if len(outputs) else b""
    return Culprit(
        index, kinds[index], (tensor or b"").decode(errors="replace"), _known_cause(model, kinds[index], op, said)
    )


def truncate(data: bytes, count: int) -> bytes:
    """Return a ``.tflite`` with the first ``count`` operators alone; it gives what the last of them makes.

    With none left it gives its own input.
    """
    model = parse(data)
    graph = model.subgraphs[0]
    graph.operators = graph.operators[:count]
    made = graph.operators[-1].outputs if count else graph.inputs
    graph.outputs = [] if made is None else list(made[:1])
    model.signatureDefs = []
    return pack(model)


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


def _known_cause(model: Any, kind: str, op: Any, said: str) -> str:
    """Return what a silent death or a terse message is known to mean, or an empty text."""
    if any(words in said for words in _LACKING_WORDS):
        return "this interpreter has no such operator: build the network without it"
    if "zero_point was not true" in said:
        return "its int8 divisor reaches zero: export the pooling as a soft-max inside the window"
    inputs = [] if op.inputs is None else op.inputs
    first = model.subgraphs[0].tensors[inputs[0]] if len(inputs) and inputs[0] >= 0 else None
    if said or kind != "SOFTMAX" or first is None or first.type != schema().TensorType.INT8:
        return ""
    keys = int(first.shape[-1])
    if keys <= MOST_KEYS:
        return ""
    return f"its rows have {keys} keys, int8 soft-max can bear {MOST_KEYS}: lower max_keys"


def one_operator(kind: str) -> bytes:
    """Return a ``.tflite`` of one operator without options: enough to ask an interpreter whether it has it.

    Args:
        kind: a builtin operator's name; any other is a custom operator's.
    """
    fb = schema()
    tensors = []
    for name in (b"in", b"out"):
        tensor = fb.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, [1, 1], fb.TensorType.INT8, 0
        tensor.quantization = fb.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [1.0], [0]
        tensors.append(tensor)
    code, op, graph, model = fb.OperatorCodeT(), fb.OperatorT(), fb.SubGraphT(), fb.ModelT()
    code.version, code.builtinCode = 1, getattr(fb.BuiltinOperator, kind, fb.BuiltinOperator.CUSTOM)
    if code.builtinCode == fb.BuiltinOperator.CUSTOM:
        code.customCode = kind.encode()
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)  # what the old field, one byte, can hold
    op.inputs, op.outputs = [0], [1]
    graph.tensors, graph.operators, graph.inputs, graph.outputs = tensors, [op], [0], [1]
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [fb.BufferT()]
    return pack(model)
