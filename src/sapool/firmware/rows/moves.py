"""Operators that only move values: what goes where is found by moving numbers instead."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sapool.firmware.rows.lower import Lowering, natural_rows
from sapool.firmware.rows.parts import Blob, Layer, Read, UnsupportedError
from sapool.tflite.graph import Operator, Tensor

# Which value lands where: place in all inputs laid end to end, or -1 for the fill.
Places = NDArray[np.int64]
Move = Callable[[Lowering, Operator, list[Places]], list[Places]]
_FILL = -1


def moved(state: Lowering, op: Operator, given: list[Places]) -> Places:
    """Return where every value of the (only needed) output comes from."""
    return MOVES[op.kind](state, op, given)[0]


def _integers(state: Lowering, op: Operator, place: int) -> tuple[int, ...]:
    return state.tensor(state.root(op.inputs[place])).integers


def _pad(state: Lowering, op: Operator, given: list[Places]) -> list[Places]:
    around = np.array(_integers(state, op, 1)).reshape(-1, 2)
    return [np.pad(given[0], around, constant_values=_FILL)]


def _mirror_pad(state: Lowering, op: Operator, given: list[Places]) -> list[Places]:
    around = np.array(_integers(state, op, 1)).reshape(-1, 2)
    mode = "symmetric" if op.options.integer("mode") else "reflect"
    return [np.pad(given[0], around, mode=mode)]  # type: ignore[call-overload]


def _concatenate(state: Lowering, op: Operator, given: list[Places]) -> list[Places]:
    axis = op.options.integer("axis")
    return [np.concatenate(given, axis=axis)]


def _transpose(state: Lowering, op: Operator, given: list[Places]) -> list[Places]:
    return [given[0].transpose(_integers(state, op, 1))]


def _slice(state: Lowering, op: Operator, given: list[Places]) -> list[Places]:
    begin, size = _integers(state, op, 1), _integers(state, op, 2)
    cut = tuple(slice(b, None if s < 0 else b + s) for b, s in zip(begin, size, strict=True))
    return [given[0][cut]]


def _strided_slice(state: Lowering, op: Operator, given: list[Places]) -> list[Places]:
    begin, end, step = (_integers(state, op, place) for place in (1, 2, 3))
    options = op.options
    if options.integer("ellipsisMask") or options.integer("newAxisMask"):
        raise UnsupportedError("an ellipsis or a new axis")
    cut: list[slice | int] = []
    for axis, (b, e, s) in enumerate(zip(begin, end, step, strict=True)):
        bit = 1 << axis
        if options.integer("shrinkAxisMask") & bit:
            cut.append(b)
            continue
        cut.append(
            slice(None if options.integer("beginMask") & bit else b, None if options.integer("endMask") & bit else e, s)
        )
    return [given[0][tuple(cut)]]


def _split(state: Lowering, op: Operator, given: list[Places]) -> list[Places]:
    axis = _integers(state, op, 0)[0]
    return np.split(given[0], len(op.outputs), axis=axis)


def _split_v(state: Lowering, op: Operator, given: list[Places]) -> list[Places]:
    sizes, axis = _integers(state, op, 1), _integers(state, op, 2)[0]
    return np.split(given[0], np.cumsum(sizes)[:-1], axis=axis)


def _pack(state: Lowering, op: Operator, given: list[Places]) -> list[Places]:
    return [np.stack(given, axis=op.options.integer("axis"))]


def _unpack(state: Lowering, op: Operator, given: list[Places]) -> list[Places]:
    axis = op.options.integer("axis")
    return [np.take(given[0], n, axis=axis) for n in range(len(op.outputs))]


def _resize_nearest(state: Lowering, op: Operator, given: list[Places]) -> list[Places]:
    rows, columns = _integers(state, op, 1)
    half, corners = op.options.flag("halfPixelCenters"), op.options.flag("alignCorners")
    _, height, width, _ = given[0].shape
    return [given[0][:, nearest(height, rows, half, corners)][:, :, nearest(width, columns, half, corners)]]


def nearest(size: int, wanted: int, half: bool, corners: bool) -> list[int]:
    """Return which row (or column) of ``size`` each of ``wanted`` repeats, made in float32 as the interpreter does."""
    scale = np.float32(size) / np.float32(wanted)
    if corners and wanted > 1:
        scale = np.float32(size - 1) / np.float32(wanted - 1)
    places = []
    for n in range(wanted):
        at = (np.float32(n) + np.float32(0.5 if half else 0.0)) * scale
        place = int(np.floor(at + np.float32(0.5))) if corners else int(np.floor(at))
        place = min(place, size - 1)
        places.append(max(place, 0) if half else place)
    return places


def _space_to_depth(state: Lowering, op: Operator, given: list[Places]) -> list[Places]:
    block = op.options.integer("blockSize")
    n, h, w, c = given[0].shape
    split = given[0].reshape(n, h // block, block, w // block, block, c)
    return [split.transpose(0, 1, 3, 2, 4, 5).reshape(n, h // block, w // block, block * block * c)]


def _depth_to_space(state: Lowering, op: Operator, given: list[Places]) -> list[Places]:
    block = op.options.integer("blockSize")
    n, h, w, c = given[0].shape
    split = given[0].reshape(n, h, w, block, block, c // (block * block))
    return [split.transpose(0, 1, 3, 2, 4, 5).reshape(n, h * block, w * block, c // (block * block))]


def _broadcast(state: Lowering, op: Operator, given: list[Places]) -> list[Places]:
    return [np.broadcast_to(given[0], state.tensor(op.outputs[0]).shape)]


def _tile(state: Lowering, op: Operator, given: list[Places]) -> list[Places]:
    return [np.tile(given[0], _integers(state, op, 1))]


def _gather(state: Lowering, op: Operator, given: list[Places]) -> list[Places]:
    if op.options.integer("batchDims"):
        raise UnsupportedError("batch dimensions")
    values = state.tensor(state.root(op.inputs[1])).values
    if values is None:
        raise UnsupportedError("computed indices")
    return [np.take(given[0], values, axis=op.options.integer("axis"))]


MOVES: Mapping[str, Move] = {
    "PAD": _pad,
    "PADV2": _pad,
    "MIRROR_PAD": _mirror_pad,
    "CONCATENATION": _concatenate,
    "TRANSPOSE": _transpose,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "PACK": _pack,
    "UNPACK": _unpack,
    "RESIZE_NEAREST_NEIGHBOR": _resize_nearest,
    "SPACE_TO_DEPTH": _space_to_depth,
    "DEPTH_TO_SPACE": _depth_to_space,
    "BROADCAST_TO": _broadcast,
    "TILE": _tile,
    "GATHER": _gather,
}


def moving(op: Operator) -> tuple[int, ...]:
    """Return the inputs whose values an operator moves."""
    if op.kind in ("CONCATENATION", "PACK"):
        return op.inputs
    return (op.inputs[1],) if op.kind == "SPLIT" else (op.inputs[0],)


def look_move(state: Lowering, op: Operator) -> tuple[int, ...]:
    """Name the tensors that an operator moves values of."""
    return moving(op)


@dataclass(frozen=True)
class Piece:
    """Values of one row from one input: four loops with strides on both sides; ``first`` is where they start."""

    source: int
    at: int
    to: int
    counts: tuple[int, int, int, int]
    from_strides: tuple[int, int, int, int]
    to_strides: tuple[int, int, int, int]


def lower_move(state: Lowering, op: Operator) -> None:
    """One step an output: its rows are pieces of the inputs' rows."""
    taken = moving(op)
    given, start = [], 0
    for tensor in taken:
        shape = state.tensor(tensor).shape
        given.append(np.arange(start, start + math.prod(shape), dtype=np.int64).reshape(shape))
        start += math.prod(shape)
    for output, places in zip(op.outputs, MOVES[op.kind](state, op, given), strict=True):
        if _is_read(state, output):
            _lower_one(state, op, taken, output, places)


def _is_read(state: Lowering, tensor: int) -> bool:
    return bool(state.graph.readers(tensor)) or tensor in state.graph.outputs


def _lower_one(state: Lowering, op: Operator, taken: Sequence[int], output: int, places: Places) -> None:
    held = state.tensor(output)
    if held.dtype not in ("int8", "uint8") or places.size != held.bytes:
        raise UnsupportedError(f"{held.dtype} values of shape {places.shape}")
    rows = natural_rows(held.shape)
    lines = places.reshape(rows, -1)
    starts = np.cumsum([0] + [state.tensor(t).bytes for t in taken])
    reads: list[Read] = []
    for n, tensor in enumerate(taken):
        reads.append(_read(state, tensor, lines, int(starts[n]), int(starts[n + 1])))
    fill = _fill(state, op, held)
    state.add_step(
        op,
        "move",
        tuple(reads),
        rows,
        lambda: move_layer(lines, reads, starts, fill),
        output=output,
    )


def _fill(state: Lowering, op: Operator, held: Tensor) -> int:
    if op.kind == "PADV2":
        values = state.tensor(state.root(op.inputs[2])).values
        return 0 if values is None else int(values.reshape(-1)[0])
    return held.zero_point


def _read(state: Lowering, tensor: int, lines: Places, start: int, end: int) -> Read:
    if state.is_constant(tensor):
        return Read(-1, (), (), 1, end - start, constant=state.blob(tensor))
    store = state.program.stores[state.store(tensor)]
    inside = (lines >= start) & (lines < end)
    first = np.where(inside, lines - start, end).min(axis=1)
    last = np.where(inside, lines - start, -1).max(axis=1)
    low = np.where(last < 0, 0, first // store.row_bytes)
    high = np.where(last < 0, 0, last // store.row_bytes + 1)
    one_row = bool((high - low <= 1).all())
    made = (tuple(int(n) for n in low), tuple(int(n) for n in high))
    if one_row:
        return Read(state.store(tensor), *made, store.rows, store.row_bytes)
    return Read(state.store(tensor), *made, 1, store.bytes, flat=True)


def move_layer(lines: Places, reads: Sequence[Read], starts: NDArray[np.int64], fill: int) -> Layer:
    """Return the struct of ``sapool_move``: for every row a variant, for every variant its pieces."""
    variants: dict[tuple[Piece, ...], int] = {}
    bounds: list[tuple[int, int]] = []
    pieces: list[tuple[int, ...]] = []
    rows = []
    for line in lines:
        made, bases = _pieces(line, reads, starts)
        if made not in variants:
            variants[made] = len(variants)
            bounds.append((len(pieces), len(pieces) + len(made)))
            pieces += [(p.source, p.at, p.to, *p.counts, *p.from_strides, *p.to_strides) for p in made]
        rows.append((variants[made], *bases))
    table = np.array([[*bounds[variant], *bases] for variant, *bases in rows], np.int64)
    has_fill = int((lines == _FILL).any())
    return Layer(
        "sapool_move",
        (
            Blob("sapool_piece", np.array(pieces, np.int64), "pieces"),
            Blob("int32_t", table.reshape(-1), "rows"),
            table.shape[1],
            lines.shape[1],
            has_fill,
            fill,
        ),
    )


def _pieces(line: Places, reads: Sequence[Read], starts: NDArray[np.int64]) -> tuple[tuple[Piece, ...], list[int]]:
    """Return a row's pieces, relative to where each input starts in it, and those starts."""
    made: list[Piece] = []
    bases = []
    for n in range(len(reads)):
        to = np.flatnonzero((line >= starts[n]) & (line < starts[n + 1]))
        where = line[to] - starts[n]
        base = 0 if not len(where) else int(where.min())
        bases.append(base)
        made += [_piece(n, *block) for block in _blocks(where - base, to)]
    return tuple(made), bases


Block = tuple[int, int, list[tuple[int, int, int]]]  # from, to, loops of (count, from stride, to stride)


def _piece(source: int, start: int, to: int, loops: list[tuple[int, int, int]]) -> Piece:
    padded = [(1, 0, 0)] * (4 - len(loops)) + loops
    counts, froms, tos = zip(*padded, strict=True)
    return Piece(source, start, to, counts, froms, tos)


def _blocks(where: Places, to: Places) -> list[Block]:
    """Cut a list of (from, to) into as few nested loops as a greedy look finds."""
    if not len(where):
        return []
    blocks: list[Block] = [(int(f), int(t), []) for f, t in zip(where, to, strict=True)]
    for _ in range(4):
        merged = _merge(blocks)
        if len(merged) == len(blocks):
            break
        blocks = merged
    return blocks


def _merge(blocks: list[Block]) -> list[Block]:
    """Join runs of equal blocks at equal distances into one block with one more loop."""
    merged: list[Block] = []
    at = 0
    while at < len(blocks):
        start, to, loops = blocks[at]
        count = 1
        if at + 1 < len(blocks) and blocks[at + 1][2] == loops:
            steps = (blocks[at + 1][0] - start, blocks[at + 1][1] - to)
            while (
                at + count < len(blocks)
                and blocks[at + count][2] == loops
                and blocks[at + count][0] == start + count * steps[0]
                and blocks[at + count][1] == to + count * steps[1]
            ):
                count += 1
            if count > 1:
                merged.append((start, to, [(count, *steps), *loops]))
                at += count
                continue
        merged.append(blocks[at])
        at += 1
    return merged
