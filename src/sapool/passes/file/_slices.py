"""Two ways in which the converter spells what takes fewer operators: SLICEs that are a SPLIT, and a matrix reshaped."""

from __future__ import annotations

from typing import Any

from sapool.passes.file._predict import light_copy, predicted_cost
from sapool.tflite.edit import FileGraph, elements


def slices_as_split(graph: FileGraph) -> int:
    """Make one SPLIT of SLICEs that together are a whole tensor in equal parts; returns how many operators went.

    Only where nothing else reads the tensor, so that it dies then and the parts take its place; and not where it is so
    large that the arena can't hold it and all of its parts at once.
    """
    for source in sorted({int(op.inputs[0]) for op in graph.of_kind("SLICE")}):
        places = graph.readers[source]
        if len(places) < 2 or source in graph.results or any(graph.kinds[place] != "SLICE" for place in places):
            continue
        slices = [graph.graph.operators[place] for place in places]
        axis = _split_axis(graph, source, slices)
        if axis is None:
            continue
        trial = FileGraph(light_copy(graph.model))
        _split(trial, source, axis)
        if predicted_cost(trial.model) < predicted_cost(graph.model):
            _split(graph, source, axis)
            return len(places) - 1
    return 0


def _split(graph: FileGraph, source: int, axis: int) -> None:
    """Put a SPLIT where the first SLICE of a tensor is."""
    places = graph.readers[source]
    slices = sorted(
        (graph.graph.operators[i] for i in places), key=lambda op: (graph.integers(op.inputs[1]) or ())[axis]
    )
    parts = [int(op.outputs[0]) for op in slices]
    axes = graph.new_integers([axis], "axis", scalar=True)
    split = graph.operator("SPLIT", [axes, source], parts, "SplitOptions")
    split.builtinOptions.numSplits = len(parts)
    graph.graph.operators[places[0]] = split
    graph.remove(places[1:])


def _split_axis(graph: FileGraph, source: int, slices: list[Any]) -> int | None:
    """Return the axis that SLICEs cut into equal parts, each once; None where they don't."""
    shape = graph.shape(source)
    part = graph.shape(int(slices[0].outputs[0]))
    cut = [i for i, (whole, side) in enumerate(zip(shape, part, strict=True)) if whole != side]
    if len(cut) != 1 or part[cut[0]] * len(slices) != shape[cut[0]]:
        return None
    begins = []
    for op in slices:
        begin = graph.integers(int(op.inputs[1]))
        if (
            begin is None
            or graph.shape(int(op.outputs[0])) != part
            or not graph.same_values(source, int(op.outputs[0]))
        ):
            return None
        begins.append(begin)
    wanted = [tuple(k * part[cut[0]] if i == cut[0] else 0 for i in range(len(shape))) for k in range(len(slices))]
    return cut[0] if sorted(begins) == wanted else None


def drop_matrix_reshapes(graph: FileGraph) -> int:
    """Let a matrix product read its right-hand matrix with sides of 1 in front, where a RESHAPE only takes them off."""
    changed = 0
    for op in graph.of_kind("BATCH_MATMUL"):
        reshape = graph.made_by(int(op.inputs[1]), "RESHAPE")
        if reshape is None:
            continue
        source, shape = int(reshape.inputs[0]), graph.shape(int(op.inputs[1]))
        given, rank = graph.shape(source), len(graph.shape(int(op.outputs[0])))
        alike = given[-2:] == shape[-2:] and elements(given[:-2]) == 1 == elements(shape[:-2])
        if alike and 2 <= len(given) <= rank and graph.same_values(source, int(op.inputs[1])):
            op.inputs = [int(op.inputs[0]), source]
            changed += 1
    graph.refresh()
    return changed
