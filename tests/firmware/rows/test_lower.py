"""The walk over a graph: views, what is not needed, and cuts in other rows than the maker's."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from sapool.firmware.rows import UnsupportedError
from sapool.firmware.rows.lower import Lowering, is_view, lower, natural_rows, place_of
from tests.firmware.random_networks import random_network
from tests.firmware.rows.build import network, quantised, rows_read, steps_of


@pytest.mark.parametrize(
    ("shape", "rows"), [((1, 7, 5, 3), 7), ((4, 10), 4), ((2, 3, 5, 7), 30), ((1, 10), 1), ((1, 6, 10), 6)]
)
def test_natural_rows(shape: tuple[int, ...], rows: int) -> None:
    assert natural_rows(shape) == rows


def test_a_transpose_is_a_view_where_no_byte_moves() -> None:
    shape = (1, 3, 1, 4)
    for order in permutations(range(4)):
        make, source = network(shape)
        out = make.tensor([shape[n] for n in order])
        make.add("TRANSPOSE", (source, make.constant(np.array(order, np.int32))), (out,))
        stays = np.arange(12).reshape(shape).transpose(order).reshape(-1).tolist() == list(range(12))
        assert is_view(make.graph, make.graph.operators[0]) == stays, order


def test_views_have_the_store_of_what_they_show() -> None:
    make, source = network((1, 4, 4, 2))
    first = make.conv(source)
    flat = make.tensor((1, make.graph.tensors[first].bytes), make.graph.tensors[first].quantization)
    make.add("RESHAPE", (first,), (flat,), "ReshapeOptions", newShape=make.shape(flat))
    program = steps_of(make, flat)
    assert len(program.steps) == 1
    assert program.outputs == (program.steps[0].output,)
    state = Lowering(make.graph, "host")
    assert state.root(flat) == first


def test_what_no_output_needs_is_left_out() -> None:
    make, source = network((1, 6, 6, 2))
    kept = make.conv(source, channels=3)
    make.conv(kept, channels=5)
    assert len(steps_of(make, kept).steps) == 1


def test_rows_that_nothing_reads_are_not_made() -> None:
    make, source = network((1, 8, 8, 2))
    first = make.conv(source, kernel=1, channels=3, stride=1)
    out = make.tensor((1, 3, 8, 3), make.graph.tensors[first].quantization)
    numbers = [make.constant(np.array(one, np.int32)) for one in ((0, 1, 0, 0), (1, 3, 8, 3))]
    make.add("SLICE", (first, *numbers), (out,), "SliceOptions")
    program = steps_of(make, out)
    assert [step.tasks for step in program.steps] == [4, 3]
    assert program.stores[program.steps[0].output].rows == 4
    assert rows_read(program.steps[1].reads[0]) == [(1, 2), (2, 3), (3, 4)]


@pytest.mark.parametrize("cut", [1, 2, 3, 6, 12])
def test_a_cut_in_other_rows_covers_the_same_bytes(cut: int) -> None:
    make, source = network((1, 4, 3, 5))
    state = Lowering(make.graph, "host")
    state.add_store(source, 4)  # rows of 15 bytes
    low = list(range(cut))
    read = state.read_listed(source, cut, low, [n + 1 for n in low])
    size = 60 // cut
    assert (read.rows, read.row_bytes) == (cut, size)
    assert read.flat == (cut != 4)
    for task, (first, last) in enumerate(rows_read(read)):
        rows = {byte // 15 for byte in range(task * size, (task + 1) * size)}
        assert (first, last) == (min(rows), max(rows) + 1)


@pytest.mark.parametrize("seed", range(10))
def test_makers_stand_before_readers_and_rows_are_inside(seed: int) -> None:
    program = lower(random_network(seed))
    made = {program.source}
    for step in program.steps:
        for read in step.reads:
            assert read.store < 0 or read.store in made
            if read.store >= 0:
                assert len(read.low) == len(read.high) == step.tasks
                assert 0 <= min(read.low) <= max(read.high) <= program.stores[read.store].rows
        assert step.made[-1] == program.stores[step.output].rows
        made.add(step.output)
    assert set(program.outputs) <= made


def test_a_network_has_one_input() -> None:
    make, source = network((1, 4, 4, 2))
    make.graph.set_inputs([source, make.tensor((1, 4, 4, 2))])
    with pytest.raises(UnsupportedError, match="streams one input, the file has 2"):
        steps_of(make, make.conv(source))


def test_a_place_is_the_operator_s_number_kind_and_module() -> None:
    make, source = network((1, 4, 4, 2))
    make.conv(make.conv(source))
    assert place_of(make.graph, make.graph.operators[1]) == "operator 1 (CONV_2D)"


def test_a_refusal_says_where() -> None:
    make, source = network((1, 4, 4, 2))
    first = make.conv(source)
    out = make.tensor(make.shape(first), quantised(0.1))
    make.add("SOFTMAX", (first,), (out,), "SoftmaxOptions", beta=1.0)
    with pytest.raises(UnsupportedError, match=r"^operator 1 \(SOFTMAX\): an output that is not .*; TFLM still runs"):
        steps_of(make, out)
