"""What the rewrites of a graph share: which graphs they may touch, and operators made anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sapool.tflite.file import short_name
from sapool.tflite.graph import OFFLINE, Graph, Operator
from sapool.tflite.options import Options, OptionValue


def is_plain(graph: Graph) -> bool:
    """Whether a main graph has no state and no plan: its tensors and operators may be moved.

    Other graphs, which its control flow runs, are fine: they know the main graph's tensors by their order alone.
    """
    return OFFLINE not in graph.metadata and not has_state(graph)


def has_state(graph: Graph) -> bool:
    """Whether something lives through every inference: variable tensors, or operators on variables."""
    if any(tensor.variable for one in graph.graphs for tensor in one.tensors):
        return True
    kinds = {operator.kind for one in graph.graphs for operator in one.operators}
    return any("VAR" in kind.split("_") or kind.endswith("VARIABLE") or kind == "CALL_ONCE" for kind in kinds)


def may_rewrite(graph: Graph) -> bool:
    """Whether operators of a main graph may become others in their places: no plan, and each state has one reader.

    Operators on variables keep their order then, and what lives in a variable tensor is its operator's own.
    """
    variables = [place for place, tensor in enumerate(graph.tensors) if tensor.variable]
    owned = all(len(graph.readers(place)) <= 1 and place not in graph.outputs for place in variables)
    return OFFLINE not in graph.metadata and owned


def make_operator(
    kind: str, inputs: Sequence[int], outputs: Sequence[int], version: int = 1, **options: OptionValue
) -> Operator:
    """Return a builtin operator that is in no graph yet."""
    return Operator(kind, tuple(inputs), tuple(outputs), Options.of(kind, **options), version=version)


def as_reshape(graph: Graph, operator: Operator) -> Operator:
    """Return the RESHAPE of an operator's first input to its output's shape, given as an option."""
    shape = graph.tensors[operator.outputs[0]].shape
    made = make_operator("RESHAPE", operator.inputs[:1], operator.outputs, newShape=shape)
    return replace(made, module=operator.module)


def shorten_names(graph: Graph) -> None:
    """Shorten the tensors' names in a main graph and all that it runs.

    The converter names a tensor after the whole chain of modules behind it, which can be a fifth of a small file.
    """
    for one in graph.graphs:
        for place, tensor in enumerate(one.tensors):
            one.change_tensor(place, name=short_name(tensor.name))


def repeat(step: Callable[[], int]) -> int:
    """Run a step that returns how many places it changed until it changes none; returns their sum."""
    total = 0
    while changed := step():
        total += changed
    return total
