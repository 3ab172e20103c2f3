"""Operators that move values: their pieces carried out naively, against NumPy's own operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sapool.firmware.rows import Blob, Program, Step, UnsupportedError
from sapool.firmware.rows.moves import MOVES, nearest
from sapool.tflite.options import OptionValue
from tests.firmware.rows.build import network, quantised, steps_of

Map = NDArray[np.int8]
ZERO = -7
SHAPE = (1, 4, 6, 8)


def carried_out(program: Program, step: Step, image: Map) -> Map:
    """Return what a step makes, as ``sapool_move_row`` does it; a byte outside of the rows it asked for is an error."""
    pieces, rows, stride, count, has_fill, fill = step.layer().fields
    assert isinstance(pieces, Blob)
    assert isinstance(rows, Blob)
    assert isinstance(stride, int)
    assert isinstance(count, int)
    table = np.asarray(rows.values).reshape(-1, stride).tolist()
    made = np.full((len(table), count), fill if has_fill else 99, np.int8)
    for task, (first, last, *starts) in enumerate(table):
        for source, at, to, *numbers in np.asarray(pieces.values)[first:last].tolist():
            read = step.reads[source]
            flat = image.reshape(-1) if read.constant is None else np.asarray(read.constant.values)
            counts, froms, tos = (np.array(numbers[n : n + 4]) for n in (0, 4, 8))
            for loop in np.ndindex(*counts):
                byte = starts[source] + at + int((np.array(loop) * froms).sum())
                if read.store >= 0:
                    size = program.stores[read.store].row_bytes
                    assert read.low[task] * size <= byte < read.high[task] * size
                made[task, to + int((np.array(loop) * tos).sum())] = flat[byte]
    return made


@dataclass
class Case:
    kind: str
    by_numpy: Callable[[Map], Any]
    numbers: Sequence[Any] = ()
    options: dict[str, OptionValue] = field(default_factory=dict)
    first: int = 0  # the place of the map among the inputs
    times: int = 1  # how often the map is an input


def blocks(x: Map) -> Map:
    return x.reshape(1, 2, 2, 3, 2, 8).transpose(0, 1, 3, 2, 4, 5).reshape(1, 2, 3, 32)


def spread(x: Map) -> Map:
    return x.reshape(1, 4, 6, 2, 2, 2).transpose(0, 1, 3, 2, 4, 5).reshape(1, 8, 12, 2)


AROUND = [(0, 0), (1, 2), (0, 3), (0, 0)]
CASES = {
    "pad": Case("PAD", lambda x: np.pad(x, AROUND, constant_values=ZERO), [AROUND]),
    "reflect": Case("MIRROR_PAD", lambda x: np.pad(x, AROUND, mode="reflect"), [AROUND], {"mode": 0}),
    "symmetric": Case("MIRROR_PAD", lambda x: np.pad(x, AROUND, mode="symmetric"), [AROUND], {"mode": 1}),
    "concatenate": Case("CONCATENATION", lambda x: np.concatenate([x, x], 2), options={"axis": 2}, times=2),
    "concatenate rows": Case("CONCATENATION", lambda x: np.concatenate([x, x], 1), options={"axis": 1}, times=2),
    "transpose": Case("TRANSPOSE", lambda x: x.transpose(0, 2, 1, 3), [(0, 2, 1, 3)]),
    "turn channels": Case("TRANSPOSE", lambda x: x.transpose(0, 3, 1, 2), [(0, 3, 1, 2)]),
    "slice": Case("SLICE", lambda x: x[:, 1:3, 2:, 3:5], [(0, 1, 2, 3), (1, 2, -1, 2)]),
    "strided": Case("STRIDED_SLICE", lambda x: x[:, ::2, 1:6:3], [(0, 0, 1, 0), (1, 4, 6, 8), (1, 2, 3, 1)]),
    "masks": Case(
        "STRIDED_SLICE",
        lambda x: x[:, 1:, :4],
        [(0, 1, 5, 0), (1, 0, 4, 8), (1, 1, 1, 1)],
        {"beginMask": 4, "endMask": 2},
    ),
    "shrink": Case(
        "STRIDED_SLICE", lambda x: x[:, 2], [(0, 2, 0, 0), (1, 3, 6, 8), (1, 1, 1, 1)], {"shrinkAxisMask": 2}
    ),
    "pack": Case("PACK", lambda x: np.stack([x, x], 3), options={"axis": 3}, times=2),
    "to depth": Case("SPACE_TO_DEPTH", blocks, options={"blockSize": 2}),
    "to space": Case("DEPTH_TO_SPACE", spread, options={"blockSize": 2}),
    "tile": Case("TILE", lambda x: np.tile(x, (1, 2, 1, 3)), [(1, 2, 1, 3)]),
    "gather": Case("GATHER", lambda x: x[:, :, [5, 0, 5]], [(5, 0, 5)], {"axis": 2}),
    "nearest": Case("RESIZE_NEAREST_NEIGHBOR", lambda x: x.repeat(2, 1).repeat(3, 2), [(8, 18)]),
}


@pytest.mark.parametrize("name", CASES)
def test_values_land_where_numpy_puts_them(name: str) -> None:
    case = CASES[name]
    image = np.random.default_rng(0).integers(-128, 128, SHAPE).astype(np.int8)
    wanted = case.by_numpy(image)
    make, source = network(SHAPE, zero=ZERO)
    out = make.tensor(wanted.shape, quantised(0.05, ZERO))
    numbers = [make.constant(np.array(one, np.int32)) for one in case.numbers]
    make.add(case.kind, (*[source] * case.times, *numbers), (out,), "AnyOptions", **case.options)
    program = steps_of(make, out)
    (step,) = program.steps
    np.testing.assert_array_equal(carried_out(program, step, image).reshape(wanted.shape), wanted)


@pytest.mark.parametrize("kind", ["SPLIT", "SPLIT_V", "UNPACK"])
def test_every_part_of_a_split(kind: str) -> None:
    image = np.random.default_rng(0).integers(-128, 128, SHAPE).astype(np.int8)
    make, source = network(SHAPE)
    axis = make.constant(np.array(2, np.int32))
    inputs: tuple[int, ...]
    if kind == "SPLIT":
        parts, inputs = np.split(image, 3, 2), (axis, source)
    elif kind == "SPLIT_V":
        parts = np.split(image, [1, 3], 2)
        inputs = (source, make.constant(np.array([1, 2, 3], np.int32)), axis)
    else:
        parts, inputs = [image[:, :, n] for n in range(6)], (source,)
    outs = [make.tensor(part.shape, quantised(0.05)) for part in parts]
    make.add(kind, inputs, outs, "AnyOptions", axis=2)
    program = steps_of(make, *outs)
    assert len(program.steps) == len(parts)
    for step, part in zip(program.steps, parts, strict=True):
        np.testing.assert_array_equal(carried_out(program, step, image).reshape(part.shape), part)


def test_a_part_that_nothing_reads_is_not_made() -> None:
    make, source = network(SHAPE)
    outs = [make.tensor((1, 4, 3, 8), quantised(0.05)) for _ in range(2)]
    make.add("SPLIT", (make.constant(np.array(2, np.int32)), source), outs, "SplitOptions")
    assert len(steps_of(make, outs[1]).steps) == 1


def test_padding_with_a_value_of_its_own() -> None:
    make, source = network(SHAPE, zero=ZERO)
    out = make.tensor((1, 4, 8, 8), quantised(0.05, ZERO))
    around = [(0, 0), (0, 0), (1, 1), (0, 0)]
    value = make.constant(np.array(44, np.int8), quantised(0.05, ZERO))
    make.add("PADV2", (source, make.constant(np.array(around, np.int32)), value), (out,), "PadV2Options")
    program = steps_of(make, out)
    image = np.random.default_rng(0).integers(-128, 128, SHAPE).astype(np.int8)
    made = carried_out(program, program.steps[0], image).reshape(1, 4, 8, 8)
    np.testing.assert_array_equal(made, np.pad(image, around, constant_values=44))


def test_a_constant_part_is_read_from_flash() -> None:
    make, source = network(SHAPE)
    held = np.random.default_rng(1).integers(-128, 128, (1, 4, 6, 3)).astype(np.int8)
    out = make.tensor((1, 4, 6, 11), quantised(0.05))
    given = (source, make.constant(held, quantised(0.05)))
    make.add("CONCATENATION", given, (out,), "ConcatenationOptions", axis=3)
    program = steps_of(make, out)
    image = np.random.default_rng(0).integers(-128, 128, SHAPE).astype(np.int8)
    made = carried_out(program, program.steps[0], image).reshape(1, 4, 6, 11)
    np.testing.assert_array_equal(made, np.concatenate([image, held], 3))


def test_few_pieces_move_many_values() -> None:
    make, source = network((1, 16, 16, 16))
    out = make.tensor((1, 16, 16, 16), quantised(0.05))
    make.add("TRANSPOSE", (source, make.constant(np.array((0, 3, 1, 2), np.int32))), (out,), "TransposeOptions")
    (step,) = steps_of(make, out).steps
    pieces = step.layer().fields[0]
    assert isinstance(pieces, Blob)
    assert len(pieces.values) <= 2


@pytest.mark.parametrize(("size", "wanted"), [(3, 7), (7, 3), (5, 5), (1, 4), (4, 1)])
def test_nearest_rows(size: int, wanted: int) -> None:
    places = range(wanted)
    assert nearest(size, wanted, half=False, corners=False) == [n * size // wanted for n in places]
    halves = [min((2 * n + 1) * size // (2 * wanted), size - 1) for n in places]
    assert nearest(size, wanted, half=True, corners=False) == halves
    if wanted > 1:
        ends = [int(n * (size - 1) / (wanted - 1) + 0.5) for n in places]
        assert nearest(size, wanted, half=False, corners=True) == ends


def test_what_is_refused() -> None:
    make, source = network(SHAPE)
    out = make.tensor(SHAPE, quantised(0.05))
    numbers = [make.constant(np.array(one, np.int32)) for one in ((0,) * 4, SHAPE, (1,) * 4)]
    make.add("STRIDED_SLICE", (source, *numbers), (out,), "StridedSliceOptions", ellipsisMask=1)
    with pytest.raises(UnsupportedError, match="an ellipsis or a new axis"):
        steps_of(make, out)


def test_a_broadcast_repeats() -> None:
    make, source = network((1, 4, 1, 8))
    out = make.tensor(SHAPE, quantised(0.05))
    make.add("BROADCAST_TO", (source, make.constant(np.array(SHAPE, np.int32))), (out,))
    program = steps_of(make, out)
    image = np.random.default_rng(0).integers(-128, 128, (1, 4, 1, 8)).astype(np.int8)
    made = carried_out(program, program.steps[0], image).reshape(SHAPE)
    np.testing.assert_array_equal(made, np.broadcast_to(image, SHAPE))


def test_every_move_is_tried() -> None:
    apart = {"SPLIT", "SPLIT_V", "UNPACK", "PADV2", "BROADCAST_TO"}
    assert {case.kind for case in CASES.values()} | apart == set(MOVES)
