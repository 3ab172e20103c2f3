"""Counting multiply-accumulates: convolutions, fully connected layers and matrix products.

One MAC is one multiplication with its addition; element-wise operators, pools and soft-max are not counted.
"""

from __future__ import annotations

import math

from sapool.tflite.graph import Graph, Operator


def count_macs(graph: Graph) -> int:
    """Return the multiply-accumulates of one inference of a main graph."""
    return sum(macs_of(graph, operator) for operator in graph.operators)


def macs_of(graph: Graph, operator: Operator) -> int:
    """Return an operator's multiply-accumulates.

    What a loop runs counts as often as it runs; once, if that depends on the input.

    Args:
        graph: the main graph.
        operator: one of its operators.
    """
    return _macs(graph, graph, operator)


def _macs(main: Graph, graph: Graph, operator: Operator) -> int:
    if operator.kind == "WHILE":
        condition, body = (main.graphs[place] for place in operator.called)
        inside = sum(_macs(main, body, inner) for inner in body.operators)
        return inside and inside * _runs(graph, operator, condition, body)
    if not operator.outputs:
        return 0
    outputs = graph.tensors[operator.outputs[0]].elements
    if operator.kind in ("CONV_2D", "FULLY_CONNECTED"):  # weights (out, ...): what is behind the first side is one's
        return outputs * math.prod(graph.tensors[operator.inputs[1]].shape[1:])
    if operator.kind == "DEPTHWISE_CONV_2D":  # weights (1, kh, kw, out)
        return outputs * math.prod(graph.tensors[operator.inputs[1]].shape[1:3])
    if operator.kind == "BATCH_MATMUL":
        return outputs * graph.tensors[operator.inputs[0]].shape[-2 if operator.options.flag("adjX") else -1]
    return 0


def _runs(graph: Graph, loop: Operator, condition: Graph, body: Graph) -> int:
    """Return how often a WHILE runs that counts a variable up to a constant (LESS, ADD); 1 for any other."""
    less = condition.maker(condition.outputs[0], "LESS") if condition.outputs else None
    if less is None or less.inputs[0] not in condition.inputs:
        return 1
    counter = condition.inputs.index(less.inputs[0])
    add = body.maker(body.outputs[counter], "ADD")
    if add is None:
        return 1
    first, limit = _number(graph, loop.inputs[counter]), _number(condition, less.inputs[1])
    step = _number(body, add.inputs[1])
    return max(-((first - limit) // step), 0) if first is not None and limit is not None and step else 1


def _number(graph: Graph, tensor: int) -> int | None:
    """Return the value of a constant of one int32; None for anything else."""
    numbers = graph.tensors[tensor].integers if tensor >= 0 else ()
    return numbers[0] if len(numbers) == 1 else None
