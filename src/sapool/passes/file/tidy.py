"""Clean-up of a file's graph: what a micro-controller would copy or keep for nothing goes. Exact to the bit.

Every operator costs some 64 bytes of the arena's tail and what its kernel keeps, every tensor 24 (on the 64-bit build),
and a RESHAPE or TRANSPOSE a copy of its map in the head. So: turns that cancel or only move sides of length 1 become
nothing or a RESHAPE, the same turn of the same tensor is made once, RESHAPEs around operators that work on the last
axis alone go (:mod:`sapool.passes.file._rows`), a RESHAPE takes its shape from its options, equal constants are
stored once, and tensors, constants and operator codes that nothing uses are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import chain

from sapool.passes.file._predict import predicted_cost
from sapool.passes.file._rows import drop_row_reshapes
from sapool.passes.file._slices import drop_matrix_reshapes, slices_as_split
from sapool.tflite import Graph, Operator
from sapool.tflite.edit import as_reshape, may_rewrite, repeat


def tidy_graph(graph: Graph) -> int:
    """Clean up a main graph in place; returns how many places changed.

    A model with a memory plan of its own is left as it is, and so is one whose state several operators read.
    """
    if not may_rewrite(graph):
        return 0
    trial = graph.copy()
    changed = _tidied(trial)
    if not changed or predicted_cost(trial)[0] > predicted_cost(graph)[0]:
        return 0  # one turn of a large map, kept for later, can cost more than two
    graph.take_over(trial)
    return changed


def _tidied(graph: Graph) -> int:
    steps: tuple[Callable[[Graph], int], ...] = (
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
        Graph.remove_unread,
    )
    changed = repeat(lambda: sum(step(graph) for step in steps))
    changed += _shapes_in_options(graph) + _share_constants(graph)
    before = sum(len(one.tensors) for one in graph.graphs)
    return changed + before - sum(map(len, graph.drop_unused()))


def _turn(graph: Graph, op: Operator) -> tuple[int, ...] | None:
    """Return the permutation of a TRANSPOSE that leaves the values alone, else None."""
    order = graph.tensors[op.inputs[1]].integers
    return order if order and graph.same_values(op.inputs[0], op.outputs[0]) else None


def _maker_turn(graph: Graph, tensor: int) -> tuple[Operator, tuple[int, ...]] | None:
    """Return the TRANSPOSE that makes a tensor and leaves its values alone, with its permutation."""
    turn = graph.maker(tensor, "TRANSPOSE")
    order = None if turn is None else _turn(graph, turn)
    return None if turn is None or order is None else (turn, order)


def _replaceable(graph: Graph, last: Operator, first: Operator) -> bool:
    """Whether what ``last`` makes may become what ``first`` reads: an input of the graph can't be its result."""
    return last.outputs[0] not in graph.outputs or first.inputs[0] in graph.makers


def _pads_before_turns(graph: Graph) -> int:
    """Pad a map before it is transposed where every reader transposes it back: then both cancel."""
    for place, op in chain(graph.of_kind("PAD"), graph.of_kind("PADV2")):
        made, first = op.outputs[0], _maker_turn(graph, op.inputs[0])
        table = graph.tensors[op.inputs[1]].integers
        if first is None or not table or made in graph.outputs:
            continue
        order = first[1]
        back = tuple(order.index(i) for i in range(len(order)))
        turns = [graph.operators[reader] for reader in graph.readers(made)]
        if not turns or not all(turn.kind == "TRANSPOSE" and _turn(graph, turn) == back for turn in turns):
            continue
        whole = graph.tensors[made]
        padded = graph.add_like(made, [whole.shape[i] for i in back], f"{whole.name}.padded")
        amounts = graph.add_integers([n for i in back for n in table[2 * i : 2 * i + 2]], "padding")
        graph.change_tensor(amounts, shape=(len(back), 2))
        graph.change_operator(place, inputs=(first[0].inputs[0], amounts, *op.inputs[2:]), outputs=(padded,))
        for turn in turns:
            graph.redirect(turn.outputs[0], padded)
        return 1
    return 0


def _drop_turns(graph: Graph) -> int:
    """Let a TRANSPOSE of a TRANSPOSE read what the first one reads; where both cancel, nothing is left."""
    for place, op in graph.of_kind("TRANSPOSE"):
        outer, first = _turn(graph, op), _maker_turn(graph, op.inputs[0])
        if first is None or outer is None or not _replaceable(graph, op, first[0]):
            continue
        source, order = first[0].inputs[0], tuple(first[1][i] for i in outer)
        if order == tuple(range(len(order))):
            graph.redirect(op.outputs[0], source)
        elif graph.only_reader(op.inputs[0]) is not None:
            graph.change_operator(place, inputs=(source, graph.add_integers(order, "order")))
        else:
            continue
        return 1
    return 0


def _turns_as_reshapes(graph: Graph) -> int:
    """Turn every TRANSPOSE that only moves sides of length 1 into a RESHAPE: their bytes are in the same order."""
    changed = 0
    for place, op in graph.of_kind("TRANSPOSE"):
        order, shape = _turn(graph, op), graph.tensors[op.inputs[0]].shape
        if order is not None and (moved := [i for i in order if shape[i] != 1]) == sorted(moved):
            graph.put(place, as_reshape(graph, op))
            changed += 1
    return changed


def _drop_reshapes(graph: Graph) -> int:
    """Remove a RESHAPE to the shape there is, and let a RESHAPE of a RESHAPE read what the first one reads."""
    for place, op in graph.of_kind("RESHAPE"):
        source, made = op.inputs[0], op.outputs[0]
        if not graph.same_values(source, made) or not _replaceable(graph, op, op):
            continue
        if graph.tensors[source].shape == graph.tensors[made].shape:
            graph.redirect(made, source)
            graph.remove([place])
            return 1
        first = graph.maker(source, "RESHAPE")
        alone = first is not None and graph.only_reader(source) is not None
        if first is not None and alone and graph.same_values(first.inputs[0], source):
            graph.change_operator(place, inputs=(first.inputs[0], *op.inputs[1:]))
            return 1
    return 0


def _share_turns(graph: Graph) -> int:
    """Make each RESHAPE or TRANSPOSE of a tensor once."""
    seen: dict[tuple[object, ...], int] = {}
    for place, op in chain(graph.of_kind("RESHAPE"), graph.of_kind("TRANSPOSE")):
        made = op.outputs[0]
        order = _turn(graph, op) if op.kind == "TRANSPOSE" else ()
        if order is None:
            continue
        key = (op.kind, op.inputs[0], graph.tensors[made].shape, order)
        if seen.setdefault(key, made) != made and graph.same_values(seen[key], made):
            graph.redirect(made, seen[key])
            graph.remove([place])
            return 1
    return 0


def _turn_the_reshaped(graph: Graph) -> int:
    """RESHAPE(TRANSPOSE(x)) is TRANSPOSE(RESHAPE(x)) with sides merged: use a RESHAPE of x that is there anyway."""
    for place, op in graph.of_kind("RESHAPE"):
        found = _maker_turn(graph, op.inputs[0])
        if found is None or graph.only_reader(op.inputs[0]) is None:
            continue
        turn, order = found
        source, made = turn.inputs[0], op.outputs[0]
        shape, merged = merged_turn(graph.tensors[source].shape, order)
        if tuple(shape[i] for i in merged) != graph.tensors[made].shape or not graph.same_values(source, made):
            continue
        flat = _reshaped_before(graph, source, shape, place)
        if flat is not None:
            gone = graph.makers[op.inputs[0]]
            graph.put(place, replace(turn, inputs=(flat, graph.add_integers(merged, "order")), outputs=(made,)))
            graph.remove([gone])
            return 1
    return 0


def _reshaped_before(graph: Graph, source: int, shape: tuple[int, ...], at: int) -> int | None:
    """Return a RESHAPE of a tensor to a shape that has run before the place ``at``."""
    for place in graph.readers(source):
        op = graph.operators[place]
        if place < at and op.kind == "RESHAPE" and graph.tensors[op.outputs[0]].shape == shape:
            return op.outputs[0] if graph.same_values(source, op.outputs[0]) else None
    return None


def _means_of_turns(graph: Graph) -> int:
    """Let a MEAN or SUM of a TRANSPOSE read what that reads, along the axes that those were: the same integer sums."""
    changed = 0
    for place, op in chain(graph.of_kind("MEAN"), graph.of_kind("SUM")):
        found, axes = _maker_turn(graph, op.inputs[0]), graph.tensors[op.inputs[1]].integers
        if found is None or not axes or op.options.flag("keepDims"):
            continue
        turn, order = found
        reduced = sorted(order[axis] for axis in axes)
        kept = [axis for axis in order if axis not in reduced]
        if kept == sorted(kept):
            graph.change_operator(place, inputs=(turn.inputs[0], graph.add_integers(reduced, "axes")))
            changed += 1
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
    merged = tuple(math.prod(shape[i] for i in group) for group in by_source)
    return merged, tuple(by_source.index(group) for group in groups)


def _shapes_in_options(graph: Graph) -> int:
    """Give every RESHAPE its shape as an option, which needs no tensor."""
    changed = 0
    for place, op in graph.of_kind("RESHAPE"):
        if len(op.inputs) > 1 and graph.is_constant(op.inputs[1]) and graph.tensors[op.outputs[0]].elements:
            graph.put(place, as_reshape(graph, op))
            changed += 1
    return changed


def _share_constants(graph: Graph) -> int:
    """Let operators that read equal constants read one."""
    first: dict[tuple[object, ...], int] = {}
    changed = 0
    for place, tensor in enumerate(graph.tensors):
        if tensor.constant is None or tensor.sparsity is not None or not graph.readers(place):
            continue
        key = (tensor.dtype, tensor.shape, tensor.quantization, tensor.constant.raw.tobytes())
        if first.setdefault(key, place) != place:
            graph.redirect(place, first[key])
            changed += 1
    return changed
