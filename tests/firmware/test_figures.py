"""Estimates of code and instructions: they follow what a program has, no more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sapool.firmware.emit_steps import KERNELS
from sapool.firmware.figures import code_bytes, instructions, stack_bytes
from sapool.firmware.generate import Planned, plan_program
from sapool.firmware.stack import stack_bytes as stack_of
from tests.firmware.random_networks import random_network


def planned(seed: int, core: str = "cortex-m4") -> Planned:
    return plan_program(random_network(seed), "net", core)


def with_steps(made: Planned, *places: int) -> Planned:
    return replace(made, program=replace(made.program, steps=[made.program.steps[n] for n in places]))


def test_a_kernel_s_code_counts_once() -> None:
    made = planned(0)
    first = made.program.steps[0].kind
    other = next(n for n, step in enumerate(made.program.steps) if step.kind != first)
    assert code_bytes(with_steps(made, 0)) == code_bytes(with_steps(made, 0, 0, 0))
    assert code_bytes(with_steps(made, 0)) < code_bytes(with_steps(made, 0, other))


@pytest.mark.parametrize("kind", KERNELS)
def test_every_kernel_has_code(kind: str) -> None:
    made = planned(0)
    none = replace(made, program=replace(made.program, steps=[]))
    one = replace(made, program=replace(made.program, steps=[replace(made.program.steps[0], kind=kind)]))
    assert 100 <= code_bytes(one) - code_bytes(none) <= 4000


def test_code_without_dsp_instructions_is_longer() -> None:
    made = planned(0)
    slow = replace(made, facts=replace(made.facts, core="m0plus"))
    assert 0.9 * code_bytes(made) < code_bytes(slow) < 1.5 * code_bytes(made)
    only_tables = [n for n, step in enumerate(made.program.steps) if step.kind not in ("conv", "matmul")]
    assert code_bytes(with_steps(slow, *only_tables)) > code_bytes(with_steps(made, *only_tables))


@pytest.mark.parametrize("seed", range(6))
def test_instructions_add_up_and_are_fewer_with_dsp_instructions(seed: int) -> None:
    made = planned(seed)
    parts = [instructions(with_steps(made, n)) for n in range(len(made.program.steps))]
    assert abs(sum(parts) - instructions(made)) <= len(parts)  # each is rounded down
    assert instructions(made) > made.program.macs
    slow = replace(made, facts=replace(made.facts, core="m0plus"))
    assert instructions(slow) > instructions(made)


def test_the_stack_is_what_the_header_says() -> None:
    made = planned(1, "m0plus")
    assert stack_bytes(made) == made.facts.stack_bytes == stack_of(made.program, "m0plus")
