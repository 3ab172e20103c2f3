"""Operators whose inputs are all constant: their results are constants too."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sapool.firmware.rows.lower import VIEWS, Lowering
from sapool.firmware.rows.moves import MOVES, moving
from sapool.firmware.rows.tables import FUNCTIONS, evaluate
from sapool.tflite.graph import Constant, Graph, Operator


def fold_constants(graph: Graph, core: str) -> Graph:
    """Return a graph without the operators that only work on constants."""
    folded = graph.copy()
    gone = []
    for place, op in enumerate(graph.operators):
        known = [t for t in op.inputs if t >= 0]
        if not known or not all(folded.is_constant(t) for t in known):
            continue
        values = _values(Lowering(folded, core), op)
        if values is None:
            continue
        raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        folded.change_tensor(op.outputs[0], constant=Constant(raw))
        gone.append(place)
    folded.remove(gone)
    return folded


def _values(state: Lowering, op: Operator) -> NDArray[np.generic] | None:
    """Return an operator's only result; None where it has several, or is of another kind."""
    given = state.tensor(op.inputs[0]).values
    if len(op.outputs) != 1 or given is None:
        return None
    if op.kind in VIEWS:
        return given
    if op.kind in FUNCTIONS:
        return evaluate(state, op, given.reshape(-1))
    if op.kind not in MOVES:
        return None
    parts, places, start = [], [], 0
    for tensor in moving(op):
        held = state.tensor(tensor)
        if held.values is None:
            return None
        parts.append(held.values.reshape(-1))
        size = math.prod(held.shape)
        places.append(np.arange(start, start + size, dtype=np.int64).reshape(held.shape))
        start += size
    (moved,) = MOVES[op.kind](state, op, places)
    whole = np.concatenate(parts)
    return np.where(moved < 0, np.array(state.tensor(op.outputs[0]).zero_point, whole.dtype), whole[moved])
