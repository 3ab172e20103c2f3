"""Whether a graph keeps the rules that everything which reads one relies on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sapool.tflite.errors import TfliteError
from sapool.tflite.graph import Graph
from sapool.tflite.kinds import broken_rule
from sapool.tflite.tensor import BYTES_OF, Tensor

MOST_BYTES = 2**40
"""Of one tensor: more is no shape that was meant."""
MOST_NESTED, MOST_RUN = 64, 2_000
"""Of graphs that control flow runs one in the other, and in all: whatever walks them does so once a call."""
_PACKED = {"int4": 2}  # values a byte
_UNSIZED = frozenset({"resource"})


def verify(graph: Graph, fixed: bool = True) -> None:
    """Check a main graph and all that it runs.

    Places are in range, every computed tensor is made once and before it is read, shapes are of a size that a runtime
    can hold, constants have as many bytes as their shape and type say, scales as many as there are channels, each kind
    of operator has the inputs, outputs and options that its kernel relies on, and no graph runs itself.

    Args:
        graph: a main graph.
        fixed: whether every side of every tensor must be known.

    Raises:
        TfliteError: a rule is broken; one line that names the operator, its place and the tensor.
    """
    if not graph.outputs:
        raise TfliteError("a model without outputs computes nothing")
    graphs = graph.graphs
    for index, one in enumerate(graphs):
        _check_places(one, index)
        for tensor in one.tensors:
            if broken := _broken_tensor(tensor, fixed):
                raise TfliteError(f"{_where(index)}tensor {tensor.name} {broken}")
        _check_order(one, index)
    _check_calls(graphs, 0, (), {})
    _check_signatures(graph)
    _ = graph.offline
    if fixed:
        for index, one in enumerate(graphs):
            for place, operator in enumerate(one.operators):
                if broken := broken_rule(graphs, one, operator):
                    raise TfliteError(f"{_named(one, index, place)}: {broken}")


def _where(index: int) -> str:
    return f"graph {index}, " if index else ""


def _named(graph: Graph, index: int, place: int) -> str:
    """Return ``operator 3 (CONV_2D, which makes stem;4)``."""
    operator = graph.operators[place]
    made = operator.outputs[0] if operator.outputs else -1
    name = f", which makes {graph.tensors[made].name}" if 0 <= made < len(graph.tensors) else ""
    return f"{_where(index)}operator {place} ({operator.kind}{name})"


def _check_places(graph: Graph, index: int) -> None:
    count = len(graph.tensors)

    def check(places: Sequence[int], least: int, what: str) -> None:
        for place in places:
            if not least <= place < count:
                raise TfliteError(f"a damaged .tflite file: {what} tensor {place} of a graph with {count}")

    check(graph.inputs, 0, f"{_where(index)}its inputs name")
    check(graph.outputs, 0, f"{_where(index)}its outputs name")
    for place, operator in enumerate(graph.operators):
        named = f"{_where(index)}operator {place} ({operator.kind})"
        check(operator.inputs, -1, f"{named} reads")
        check(operator.outputs, 0, f"{named} makes")
        check(operator.intermediates, -1, f"{named} has between")


def _broken_tensor(tensor: Tensor, fixed: bool) -> str:
    """Return the rule that a tensor breaks; empty where it breaks none."""
    if any(side < 0 for side in tensor.shape):
        known = f"has the shape {tensor.shape}: every side must be known, export it with fixed shapes"
        return known if fixed else ""
    if fixed and any(side < 0 for side in tensor.signature[1:]):
        return f"has a shape that changes, {tensor.signature}: only the batch may, export it with fixed shapes"
    if tensor.elements * BYTES_OF.get(tensor.dtype, 1) > MOST_BYTES:
        return f"has the shape {tensor.shape}: that is over {MOST_BYTES} bytes"
    return _broken_constant(tensor) or _broken_quantization(tensor)


def _broken_constant(tensor: Tensor) -> str:
    if tensor.constant is None or not tensor.constant.read or tensor.sparsity is not None:
        return ""
    if tensor.dtype not in BYTES_OF or tensor.dtype in _UNSIZED:
        return ""
    wanted, got = -(-tensor.bytes // _PACKED.get(tensor.dtype, 1)), len(tensor.constant.raw)
    if got not in (wanted, tensor.bytes):
        return f"is a constant {tensor.dtype} of {tensor.shape}: it must have {wanted} bytes, got {got}"
    return ""


def _broken_quantization(tensor: Tensor) -> str:
    found = tensor.quantization
    if found is None:
        return ""
    scales, zeros = len(found.scales), len(found.zero_points)
    if zeros not in (1, scales):
        return f"must have a zero point a scale, got {zeros} of {scales}"
    if not all(math.isfinite(scale) for scale in found.scales):
        return f"must have finite scales, got {found.scales[:4]}"
    if scales == 1:
        return ""
    if not 0 <= found.axis < len(tensor.shape) or tensor.shape[found.axis] != scales:
        return f"must have a scale a channel, got {scales} along side {found.axis} of {tensor.shape}"
    return ""


def _check_order(graph: Graph, index: int) -> None:
    """Check that what is read is there by then, and that nothing is made twice."""
    held = {
        place
        for place, tensor in enumerate(graph.tensors)
        if tensor.constant is not None or tensor.variable or 0 in tensor.shape
    }
    held |= {*graph.inputs}
    variables = {place for place, tensor in enumerate(graph.tensors) if tensor.variable or 0 in tensor.shape}
    for place, operator in enumerate(graph.operators):
        for tensor in operator.inputs:
            if tensor >= 0 and tensor not in held:
                named, name = _named(graph, index, place), graph.tensors[tensor].name
                raise TfliteError(f"{named}: it reads tensor {tensor} ({name}), which nothing has made by then")
        for tensor in operator.outputs:
            if tensor in held and tensor not in variables:
                named, name = _named(graph, index, place), graph.tensors[tensor].name
                raise TfliteError(f"{named}: it makes tensor {tensor} ({name}), which is there already")
        held.update(operator.outputs)
    for tensor in graph.outputs:
        if tensor not in held:
            raise TfliteError(f"{_where(index)}output {tensor} ({graph.tensors[tensor].name}): nothing makes it")


def _check_calls(graphs: Sequence[Graph], index: int, above: tuple[int, ...], runs: dict[int, int]) -> int:
    """Check that control flow names graphs of the file, and that none runs itself; returns how many run in all.

    Args:
        graphs: all of the file.
        index: the one to look at.
        above: those that are running when it does.
        runs: how many run in those that were looked at already.
    """
    if index in runs:
        return runs[index]
    total = 1
    for operator in graphs[index].operators:
        for called in operator.called:
            if not 0 <= called < len(graphs):
                raise TfliteError(f"{operator.kind} runs graph {called} of a file with {len(graphs)}")
            if called in (*above, index):
                raise TfliteError(f"{operator.kind} of graph {index} runs graph {called}, which it is part of")
            if len(above) >= MOST_NESTED:
                raise TfliteError(f"{operator.kind} of graph {index} is nested deeper than {MOST_NESTED}")
            total += _check_calls(graphs, called, (*above, index), runs)
            if total > MOST_RUN:
                raise TfliteError(f"graph {index} runs more than {MOST_RUN:,} graphs")
    runs[index] = total
    return total


def _check_signatures(graph: Graph) -> None:
    for one in graph.signatures:
        if not 0 <= one.graph < len(graph.graphs):
            raise TfliteError(f"signature {one.key} is of graph {one.graph} of a file with {len(graph.graphs)}")
        count = len(graph.graphs[one.graph].tensors)
        for name, place in (*one.inputs.items(), *one.outputs.items()):
            if not 0 <= place < count:
                raise TfliteError(f"signature {one.key} names tensor {place} ({name}) of a graph with {count}")
