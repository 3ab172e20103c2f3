"""Damaged files are refused in one line, or read and rewritten without a fault; no interpreter runs them."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from sapool.memory import profile_graph
from sapool.memory.verdict import profile_for_target
from sapool.passes import FILE_PASSES
from sapool.passes.file.fold_pads import fold_pads
from sapool.tflite import TfliteError, count_macs, read_graph, verify, write_graph
from tests.memory.control_flow import control_flow
from tests.memory.handmade import build
from tests.memory.single_operators import everything
from tests.passes.tiling.networks import inverted_residuals, pooled_branches
from tests.tflite.mutating import mutated_bytes, mutated_model

CASES = 300
_PASSES = {"fold_pads": fold_pads, **FILE_PASSES}


def files() -> list[bytes]:
    singles = list(everything().values())
    looped = [build(*graphs) for graphs in control_flow().values()]
    networks = [write_graph(make(16)) for make in (inverted_residuals,)] + [write_graph(pooled_branches())]
    return [*(build(graph) for graph in singles), *looped * 4, *networks * 20]


def survive(data: bytes) -> bool:
    """Whether a file is read, or refused in more than a line; what is read must bear all that is done with one."""
    try:
        graph = read_graph(data)
    except TfliteError as error:
        return "\n" in str(error)
    profile_graph(graph)
    profile_for_target(graph, "cortex-m4")
    count_macs(graph)
    for name, change in _PASSES.items():
        change(graph)
        try:
            verify(graph)
        except TfliteError as error:
            raise AssertionError(f"{name} leaves a graph that breaks a rule") from error
    assert read_graph(write_graph(graph)).kinds() == graph.kinds()
    return True


@pytest.mark.parametrize("mutate", [mutated_bytes, mutated_model])
def test_damaged_files_end_in_one_line_or_not_at_all(mutate: Callable[[bytes, random.Random], bytes]) -> None:
    dice, sound, kept = random.Random(0), files(), 0
    for case in range(CASES):
        data = mutate(dice.choice(sound), random.Random(case))
        kept += survive(data)
    assert 0 < kept < CASES
