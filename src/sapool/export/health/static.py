"""Checks that need no run: what the file itself says."""

from __future__ import annotations

from collections.abc import Iterator

from sapool.export.health.records import Finding, HealthLimits, Severity
from sapool.export.health.view import NamedGraph
from sapool.export.runtime.interpreters import lacking_operators
from sapool.tflite import Operator


def finding(
    view: NamedGraph,
    check: str,
    severity: Severity,
    place: int | None,
    figure: tuple[float, float],
    message: str,
    advice: str,
    tensor: int | None = None,
) -> Finding:
    """Build a finding about ``tensor``, or about what the operator at ``place`` makes.

    ``figure`` is what was measured and its limit.
    """
    op = None if place is None else view.operators[place]
    if tensor is None and op is not None and op.outputs:
        tensor = op.outputs[0]
    name = "" if tensor is None else view.tensors[tensor].name
    kind, module = "" if op is None else op.kind, "" if place is None else view.modules.get(place, "")
    return Finding(check, severity, place, kind, name, module, *figure, message, advice)


def check_operators(view: NamedGraph) -> list[Finding]:
    """Find the operators that TFLM lacks: one finding a kind, at its first place."""
    lacking = lacking_operators(op.kind for op in view.operators)
    found = []
    for kind in sorted(lacking):
        places = [place for place, _ in view.graph.of_kind(kind)]
        message = f"TensorFlow Lite Micro has no {kind} ({len(places)} in this file)"
        advice = "build the network without it"
        found.append(finding(view, "tflm_operators", "error", places[0], (len(places), 0), message, advice))
    return found


def check_shapes(view: NamedGraph) -> list[Finding]:
    """Find the operators that make a tensor whose size is not known before the run."""
    found = []
    for place, op in enumerate(view.operators):
        for index in op.outputs:
            shape = view.tensors[index].shape
            if any(side < 0 for side in shape):
                message = f"makes a tensor of unknown size, {shape}"
                advice = "export with a fixed input size and no operator whose output's size depends on values"
                found.append(finding(view, "static_shape", "error", place, (min(shape), 1), message, advice, index))
    return found


def softmax_keys(view: NamedGraph) -> dict[int, int]:
    """Return {operator: keys of a row} of every int8 soft-max."""
    made = ((place, view.tensors[op.outputs[0]]) for place, op in view.graph.of_kind("SOFTMAX"))
    return {place: tensor.shape[-1] for place, tensor in made if tensor.dtype == "int8"}


def check_keys(view: NamedGraph, limits: HealthLimits) -> list[Finding]:
    """Find the int8 soft-maxes over more keys than their steps can tell apart."""
    return [
        finding(
            view,
            "softmax_keys",
            "warning",
            index,
            (keys, limits.softmax_keys),
            f"rows of {keys} keys, int8 soft-max can bear {limits.softmax_keys}",
            f"average keys and values down: max_keys={limits.softmax_keys}",
        )
        for index, keys in softmax_keys(view).items()
        if keys > limits.softmax_keys
    ]


def float_islands(view: NamedGraph) -> list[list[int]]:
    """Return the places of operators that compute in float32, by stretches with the conversions at their ends.

    A file that has no int8 tensor is float32 as a whole: one island.
    """
    islands: list[tuple[set[int], list[int]]] = []
    for place, op in enumerate(view.operators):
        floats = set(_floats(view, op))
        if not floats:
            continue
        touching = [island for island in islands if island[0] & floats]
        tensors = floats.union(*(island[0] for island in touching))
        operators = [member for island in touching for member in island[1]] + [place]
        islands = [island for island in islands if island not in touching] + [(tensors, operators)]
    return [sorted(operators) for _, operators in islands]


def check_islands(view: NamedGraph) -> list[Finding]:
    """Find the stretches that compute in float32: four bytes a value, and slow without a floating-point unit."""
    found = []
    for island in float_islands(view):
        kinds = ", ".join(view.operators[place].kind for place in island)
        message = f"{len(island)} operators compute in float32: {kinds}"
        working = next((p for p in island if view.operators[p].kind != "DEQUANTIZE"), island[0])
        advice = "use a pool or pass whose operators have an int8 form"
        found.append(finding(view, "float_island", "warning", working, (len(island), 0), message, advice))
    return found


def _floats(view: NamedGraph, op: Operator) -> Iterator[int]:
    for index in (*op.inputs, *op.outputs):
        if index >= 0 and view.tensors[index].dtype == "float32" and not view.graph.is_constant(index):
            yield index
