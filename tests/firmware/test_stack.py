"""The stack of a program: that of its deepest kernel, and the list of rows that it looks at."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sapool.firmware.cores import CORES
from sapool.firmware.rows import Program, lower
from sapool.firmware.stack import stack_bytes
from tests.firmware.random_networks import Maker, random_network


def of_one(program: Program, n: int) -> Program:
    return replace(program, steps=[program.steps[n]])


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("seed", range(6))
def test_the_deepest_step_counts(core: str, seed: int) -> None:
    program = lower(random_network(seed), core)
    alone = [stack_bytes(of_one(program, n), core) for n in range(len(program.steps))]
    whole = stack_bytes(program, core)
    assert max(alone) <= whole <= max(alone) + 8 * 8  # the list of rows is as long as the longest step's
    assert whole % 8 == 0


def test_pointers_to_rows_lie_on_the_stack() -> None:
    make = Maker(0)
    source = make.tensor((1, 12, 12, 2))
    make.graph.set_inputs([source])
    make.graph.set_outputs([make.pool(source, "MAX_POOL_2D")])
    program = lower(make.graph)
    (step,) = program.steps
    sizes = []
    for taps in (1, 2, 3, 9):
        program.steps[0] = replace(step, window=replace(step.window, taps=taps))
        sizes.append(stack_bytes(program, "cortex-m4"))
    assert [size - sizes[0] for size in sizes] == [0, 0, 8, 32]


def test_a_depthwise_kernel_without_scratch_is_a_shallower_one() -> None:
    make = Maker(1)
    source = make.tensor((1, 12, 12, 8))
    make.graph.set_inputs([source])
    make.graph.set_outputs([make.depthwise(source)])
    program = lower(make.graph)
    (step,) = program.steps
    fast, plain = (replace(program, steps=[replace(step, scratch=size)]) for size in (96, 0))
    assert stack_bytes(plain, "cortex-m4") < stack_bytes(fast, "cortex-m4")
    assert stack_bytes(plain, "m0plus") == stack_bytes(fast, "m0plus")


def test_a_kernel_that_was_not_measured_counts_too() -> None:
    program = lower(random_network(0))
    unknown = replace(program, steps=[replace(program.steps[0], kind="brand new")])
    assert stack_bytes(unknown, "cortex-m4") > 100
