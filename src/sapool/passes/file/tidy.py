"""Clean-up of the ``.tflite``: what a micro-controller would copy or keep for nothing goes. Exact to the bit.

Every operator costs some 64 bytes of the arena's tail and what its kernel keeps, every tensor 24 (on the 64-bit build),
and a RESHAPE or TRANSPOSE a copy of its map in the head. So: turns that cancel or only move sides of length 1 become
nothing or a RESHAPE, the same turn of the same tensor is made once, RESHAPEs around operators that work on the last
axis alone go (:mod:`sapool.passes.file._rows`), a RESHAPE takes its shape from its options, equal constants are
stored once, and tensors, constants and operator codes that nothing uses are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sapool.passes.file._predict import light_copy, predicted_cost
from sapool.passes.file._rows import drop_row_reshapes
from sapool.passes.file._slices import drop_matrix_reshapes, slices_as_split
from sapool.passes.file._unused import drop_unused
from sapool.tflite.edit import FileGraph, elements, is_plain, quantization_of, repeat
from sapool.tflite.file import is_constant


def tidy_graph(model: Any) -> int:
    """Clean up a ``ModelT`` in place; returns how many places changed.

    A model with variables or a memory plan of its own is left as it is.
    """
    if not is_plain(model):
        return 0
    trial = light_copy(model)
    changed = _tidied(trial)
    if not changed or predicted_cost(trial)[0] > predicted_cost(model)[0]:
        return 0  # one turn of a large map, kept for later, can cost more than two
    vars(model).update(vars(trial))
    return changed


def _tidied(model: Any) -> int:
    graph = FileGraph(model)
    steps: tuple[Callable[[FileGraph], int], ...] = (
        _pads_before_turns,
        _drop_turns,
        _turns_as_reshapes,
        _drop_reshapes,
        _share_turns,
        _turn_the_reshaped,
        _means_of_turns,
        drop_row_reshapes,
        drop_matrix_reshapes,
        slices_as_split,
        FileGraph.remove_unread,
    )
    changed = repeat(lambda: sum(step(graph) for step in steps))
    changed += _shapes_in_options(graph) + _share_constants(graph)
    return changed + drop_unused(model)


def _turn(graph: FileGraph, op: Any) -> tuple[int, ...] | None:
    """Return the permutation of a TRANSPOSE that leaves the values alone, else None."""
    order = graph.integers(int(op.inputs[1]))
    return order if order is not None and graph.same_values(int(op.inputs[0]), int(op.outputs[0])) else None


def _pads_before_turns(graph: FileGraph) -> int:
    """Pad a map before it is transposed where every reader transposes it back: then both cancel."""
    for op in (*graph.of_kind("PAD"), *graph.of_kind("PADV2")):
        made, first = int(op.outputs[0]), graph.made_by(int(op.inputs[0]), "TRANSPOSE")
        order = None if first is None else _turn(graph, first)
        table = graph.integers(int(op.inputs[1]))
        if first is None or order is None or table is None or made in graph.results:
            continue
        back = tuple(order.index(i) for i in range(len(order)))
        turns = [graph.graph.operators[place] for place in graph.readers.get(made, [])]
        if not turns or not all(turn in graph.of_kind("TRANSPOSE") and _turn(graph, turn) == back for turn in turns):
            continue
        padded = graph.new_tensor(made, [graph.shape(made)[i] for i in back], "padded")
        amounts = graph.new_integers([n for i in back for n in table[2 * i : 2 * i + 2]], "padding")
        graph.graph.tensors[amounts].shape = [len(back), 2]
        op.inputs = [int(first.inputs[0]), amounts, *op.inputs[2:]]
        op.outputs = [padded]
        for turn in turns:
            graph.replace(int(turn.outputs[0]), padded)
        graph.refresh()
        return 1
    return 0


def _drop_turns(graph: FileGraph) -> int:
    """Let a TRANSPOSE of a TRANSPOSE read what the first one reads; where both cancel, nothing is left."""
    for op in graph.of_kind("TRANSPOSE"):
        first = graph.made_by(int(op.inputs[0]), "TRANSPOSE")
        outer, inner = _turn(graph, op), None if first is None else _turn(graph, first)
        if first is None or outer is None or inner is None or not graph.replaceable(op, first):
            continue
        source, order = int(first.inputs[0]), tuple(inner[i] for i in outer)
        if order == tuple(range(len(order))):
            graph.replace(int(op.outputs[0]), source)
        elif graph.only_reader(int(op.inputs[0])) is not None:
            op.inputs = [source, graph.new_integers(order, "order")]
        else:
            continue
        graph.refresh()
        return 1
    return 0


def _turns_as_reshapes(graph: FileGraph) -> int:
    """Turn every TRANSPOSE that only moves sides of length 1 into a RESHAPE: their bytes are in the same order."""
    changed = 0
    for op in graph.of_kind("TRANSPOSE"):
        order, shape = _turn(graph, op), graph.shape(int(op.inputs[0]))
        if order is not None and (moved := [i for i in order if shape[i] != 1]) == sorted(moved):
            graph.make_reshape(op)
            changed += 1
    graph.refresh()
    return changed


def _drop_reshapes(graph: FileGraph) -> int:
    """Remove a RESHAPE to the shape there is, and let a RESHAPE of a RESHAPE read what the first one reads."""
    for op in graph.of_kind("RESHAPE"):
        source, made = int(op.inputs[0]), int(op.outputs[0])
        if not graph.same_values(source, made) or not graph.replaceable(op, op):
            continue
        if graph.shape(source) == graph.shape(made):
            graph.replace(made, source)
            graph.remove([graph.makers[made]])
            return 1
        first = graph.made_by(source, "RESHAPE")
        alone = first is not None and graph.only_reader(source) is not None
        if first is not None and alone and graph.same_values(int(first.inputs[0]), source):
            op.inputs = [int(first.inputs[0]), *op.inputs[1:]]
            graph.refresh()
            return 1
    return 0


def _share_turns(graph: FileGraph) -> int:
    """Make each RESHAPE or TRANSPOSE of a tensor once."""
    seen: dict[tuple[object, ...], int] = {}
    for kind in ("RESHAPE", "TRANSPOSE"):
        for op in graph.of_kind(kind):
            made = int(op.outputs[0])
            order = _turn(graph, op) if kind == "TRANSPOSE" else ()
            if order is None:
                continue
            key = (kind, int(op.inputs[0]), graph.shape(made), order)
            if seen.setdefault(key, made) != made and graph.same_values(seen[key], made):
                graph.replace(made, seen[key])
                graph.remove([graph.makers[made]])
                return 1
    return 0


def _turn_the_reshaped(graph: FileGraph) -> int:
    """RESHAPE(TRANSPOSE(x)) is TRANSPOSE(RESHAPE(x)) with sides merged: use a RESHAPE of x that is there anyway."""
    for op in graph.of_kind("RESHAPE"):
        turn = graph.made_by(int(op.inputs[0]), "TRANSPOSE")
        order = None if turn is None else _turn(graph, turn)
        if turn is None or order is None or graph.only_reader(int(op.inputs[0])) is None:
            continue
        source, made = int(turn.inputs[0]), int(op.outputs[0])
        shape, merged = merged_turn(graph.shape(source), order)
        if tuple(shape[i] for i in merged) != graph.shape(made) or not graph.same_values(source, made):
            continue
        at, gone = graph.makers[made], graph.makers[int(op.inputs[0])]
        flat = _reshaped_before(graph, source, shape, at)
        if flat is not None:
            turn.inputs, turn.outputs = [flat, graph.new_integers(merged, "order")], [made]
            graph.graph.operators[at] = turn
            graph.remove([gone])
            return 1
    return 0


def _reshaped_before(graph: FileGraph, source: int, shape: tuple[int, ...], at: int) -> int | None:
    """Return a RESHAPE of a tensor to a shape that has run before the place ``at``."""
    for place in graph.readers[source]:
        made = int(graph.graph.operators[place].outputs[0])
        if place < at and graph.kinds[place] == "RESHAPE" and graph.shape(made) == shape:
            return made if graph.same_values(source, made) else None
    return None


def _means_of_turns(graph: FileGraph) -> int:
    """Let a MEAN or SUM of a TRANSPOSE read what that reads, along the axes that those were: the same integer sums."""
    changed = 0
    for op in (*graph.of_kind("MEAN"), *graph.of_kind("SUM")):
        turn, axes = graph.made_by(int(op.inputs[0]), "TRANSPOSE"), graph.integers(int(op.inputs[1]))
        order = None if turn is None else _turn(graph, turn)
        if turn is None or order is None or axes is None or op.builtinOptions.keepDims:
            continue
        reduced = sorted(order[axis] for axis in axes)
        kept = [axis for axis in order if axis not in reduced]
        if kept == sorted(kept):
            op.inputs = [int(turn.inputs[0]), graph.new_integers(reduced, "axes")]
            changed += 1
    graph.refresh()
    return changed


def merged_turn(shape: tuple[int, ...], order: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shortest (shape, order) of the same turn: no sides of 1, and sides that stay neighbours as one."""
    groups: list[list[int]] = []
    for axis in (i for i in order if shape[i] != 1):
        follows = groups and all(shape[i] == 1 for i in range(groups[-1][-1] + 1, axis)) and groups[-1][-1] < axis
        if follows:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    by_source = sorted(groups)
    merged = tuple(elements([shape[i] for i in group]) for group in by_source)
    return merged, tuple(by_source.index(group) for group in groups)


def _shapes_in_options(graph: FileGraph) -> int:
    """Give every RESHAPE its shape as an option, which needs no tensor."""
    changed = 0
    for op in graph.of_kind("RESHAPE"):
        if (
            len(op.inputs) > 1
            and graph.integers(int(op.inputs[1])) is not None
            and elements(graph.shape(op.outputs[0]))
        ):
            graph.make_reshape(op)
            changed += 1
    graph.refresh()
    return changed


def _share_constants(graph: FileGraph) -> int:
    """Let operators that read equal constants read one."""
    first: dict[tuple[object, ...], int] = {}
    changed = 0
    for place, tensor in enumerate(graph.graph.tensors):
        if not is_constant(graph.model, place) or not graph.readers.get(place):
            continue
        data = np.asarray(graph.model.buffers[tensor.buffer].data, np.uint8).tobytes()
        key = (tensor.type, graph.shape(place), quantization_of(tensor), data)
        if first.setdefault(key, place) != place:
            graph.replace(place, first[key])
            changed += 1
    graph.refresh()
    return changed
