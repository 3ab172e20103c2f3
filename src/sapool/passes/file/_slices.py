"""Two ways in which the converter spells what takes fewer operators: SLICEs that are a SPLIT, and a matrix reshaped."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sapool.passes.file._predict import predicted_cost
from sapool.tflite import Graph, Operator
from sapool.tflite.edit import make_operator


def slices_as_split(graph: Graph) -> int:
    """Make one SPLIT of SLICEs that together are a whole tensor in equal parts; returns how many operators went.

    Only where nothing else reads the tensor, so that it dies then and the parts take its place; and not where it is so
    large that the arena can't hold it and all of its parts at once.
    """
    for source in sorted({op.inputs[0] for _, op in graph.of_kind("SLICE")}):
        places = graph.readers(source)
        if len(places) < 2 or source in graph.outputs:
            continue
        slices = [graph.operators[place] for place in places]
        if any(op.kind != "SLICE" for op in slices):
            continue
        axis = _split_axis(graph, source, slices)
        if axis is None:
            continue
        trial = graph.copy()
        _split(trial, source, axis)
        if predicted_cost(trial) < predicted_cost(graph):
            graph.take_over(trial)
            return len(places) - 1
    return 0


def _split(graph: Graph, source: int, axis: int) -> None:
    """Put a SPLIT where the first SLICE of a tensor is."""
    places = graph.readers(source)
    slices = sorted((graph.operators[i] for i in places), key=lambda op: graph.tensors[op.inputs[1]].integers[axis])
    parts = [op.outputs[0] for op in slices]
    axes = graph.add_integers([axis], "axis", scalar=True)
    split = make_operator("SPLIT", [axes, source], parts, numSplits=len(parts))
    operators: list[Operator | None] = list(graph.operators)
    operators[places[0]] = split
    for place in places[1:]:
        operators[place] = None
    graph.set_operators(op for op in operators if op is not None)


def _split_axis(graph: Graph, source: int, slices: Sequence[Operator]) -> int | None:
    """Return the axis that SLICEs cut into equal parts, each once; None where they don't."""
    shape = graph.tensors[source].shape
    part = graph.tensors[slices[0].outputs[0]].shape
    cut = [i for i, (whole, side) in enumerate(zip(shape, part, strict=True)) if whole != side]
    if len(cut) != 1 or part[cut[0]] * len(slices) != shape[cut[0]]:
        return None
    begins = []
    for op in slices:
        made = op.outputs[0]
        begin = graph.tensors[op.inputs[1]].integers
        if not begin or graph.tensors[made].shape != part or not graph.same_values(source, made):
            return None
        begins.append(begin)
    wanted = [tuple(k * part[cut[0]] if i == cut[0] else 0 for i in range(len(shape))) for k in range(len(slices))]
    return cut[0] if sorted(begins) == wanted else None


def drop_matrix_reshapes(graph: Graph) -> int:
    """Let a matrix product read its right-hand matrix with sides of 1 in front, where a RESHAPE only takes them off."""
    changed = 0
    for place, op in graph.of_kind("BATCH_MATMUL"):
        reshape = graph.maker(op.inputs[1], "RESHAPE")
        if reshape is None:
            continue
        source, shape = reshape.inputs[0], graph.tensors[op.inputs[1]].shape
        given, rank = graph.tensors[source].shape, len(graph.tensors[op.outputs[0]].shape)
        alike = given[-2:] == shape[-2:] and math.prod(given[:-2]) == 1 == math.prod(shape[:-2])
        if alike and 2 <= len(given) <= rank and graph.same_values(source, op.inputs[1]):
            graph.change_operator(place, inputs=(op.inputs[0], source))
            changed += 1
    return changed
