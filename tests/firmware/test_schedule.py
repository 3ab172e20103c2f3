"""The order of tasks: by hand for chains, by a naive count of rows for random networks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sapool.firmware.cuts import find_joints
from sapool.firmware.rows import Program, lower
from sapool.firmware.schedule import simulate, simulate_rest
from tests.firmware.random_networks import Maker, random_network
from tests.firmware.replay import check_order

SEEDS = range(16)


def chain(rows: int = 4, convolutions: int = 2) -> Program:
    """Return 3 x 3 convolutions that keep the size, without any noise of random options."""
    make = Maker(0)
    now = make.tensor((1, rows, 5, 2))
    make.graph.set_inputs([now])
    for _ in range(convolutions):
        out = make.tensor((1, rows, 5, 2))
        weights, how = make.weights((2, 3, 3, 2), 0, 0.01), {"strideH": 1, "strideW": 1, "dilationHFactor": 1}
        make.add("CONV_2D", (now, weights, -1), (out,), "Conv2DOptions", padding=0, dilationWFactor=1, **how)
        now = out
    make.graph.set_outputs([now])
    return lower(make.graph)


def attending() -> Program:
    make = Maker(3)
    source = make.tensor((1, 6, 6, 4))
    make.graph.set_inputs([source])
    make.graph.set_outputs([make.attention(make.conv(source, kernel=3, channels=4, stride=1))])
    return lower(make.graph)


def test_rows_are_made_as_soon_as_what_they_need_is_there() -> None:
    assert simulate(chain()).pushes == ((), (0,), (0, 1), (0, 1, 0, 1, 1))


def test_a_whole_tensor_is_complete_before_anything_reads_it() -> None:
    program = chain()
    assert simulate(program, {program.steps[0].output}).pushes == ((), (0,), (0,), (0, 0, 1, 1, 1, 1))


def test_an_image_that_comes_whole_is_one_push() -> None:
    (push,) = simulate(chain(), stream=False).pushes
    assert push == (0, 0, 1, 0, 1, 0, 1, 1)


def test_the_rest_behind_a_whole_tensor() -> None:
    program = chain(convolutions=3)
    (push,) = simulate_rest(program, 1, program.steps[0].output).pushes
    assert push == (1, 1, 2, 1, 2, 1, 2, 2)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_every_task_runs_once_and_finds_its_rows(seed: int, stream: bool) -> None:
    program = lower(random_network(seed))
    check_order(program, simulate(program, stream=stream), stream=stream)


@pytest.mark.parametrize("seed", SEEDS)
def test_whole_tensors_are_waited_for(seed: int) -> None:
    program = lower(random_network(seed))
    whole = {joint.store for joint in find_joints(program)[::2]}
    schedule = simulate(program, whole)
    check_order(program, schedule)
    order = [n for push in schedule.pushes for n in push]
    for store in whole:
        makers = [at for at, n in enumerate(order) if program.steps[n].output == store]
        readers = [at for at, n in enumerate(order) if any(r.store == store for r in program.steps[n].reads)]
        assert max(makers) < min(readers)


def test_queries_wait_for_whole_keys_and_scores_exist_a_row_at_a_time() -> None:
    program = attending()
    assert [step.kind for step in program.steps] == ["conv", "conv", "matmul", "softmax", "matmul"]
    *before, last = simulate(program).pushes
    assert set(sum(before, ())) == {0}
    assert last == (0, 0) + (1, 2, 3, 4) * 6


def test_a_program_that_cannot_end_is_no_schedule() -> None:
    program = chain()
    step = program.steps[1]
    (read,) = step.reads
    program.steps[1] = replace(step, reads=(replace(read, high=(*read.high[:-1], 9)),))
    with pytest.raises(RuntimeError, match="does not come to an end"):
        simulate(program)
