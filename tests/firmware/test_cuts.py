"""Whole tensors: found by every path of the network, worth it by trying all choices."""

from __future__ import annotations

from itertools import combinations

import pytest

from sapool.firmware.cuts import choose_cuts, find_joints, shrink_tiles
from sapool.firmware.lifetimes import buffers
from sapool.firmware.plan import place
from sapool.firmware.rows import Program, lower
from sapool.firmware.schedule import simulate
from tests.firmware.random_networks import Maker, random_network
from tests.firmware.replay import Replay, check_order

SEEDS = range(16)


def reaches_an_output(program: Program, without: int) -> bool:
    """Whether a path leads from the image to an output that does not go through a store."""
    seen = {program.source}
    for step in program.steps:
        if step.output != without and any(read.store in seen for read in step.reads):
            seen.add(step.output)
    return bool(seen & set(program.outputs))


@pytest.mark.parametrize("seed", SEEDS)
def test_joints_are_what_all_paths_go_through(seed: int) -> None:
    program = lower(random_network(seed))
    inner = [step.output for step in program.steps if step.output not in program.outputs]
    wanted = [n for n in inner if program.stores[n].rows > 1 and not reaches_an_output(program, n)]
    assert [joint.store for joint in find_joints(program)] == wanted


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_chosen_works_and_needs_no_more_than_streaming_all(seed: int, stream: bool) -> None:
    program = lower(random_network(seed))
    plain = place(buffers(program, simulate(program, stream=stream), frozenset(), stream)).bytes
    schedule, plan = choose_cuts(program, stream=stream)
    assert plan.bytes <= plain
    check_order(program, schedule, stream=stream)
    Replay(program, schedule, plan, stream=stream).run()


def funnel() -> Program:
    """Return a deep network whose rings would be large all at once: its map shrinks early."""
    make = Maker(5)
    now = make.tensor((1, 24, 24, 3))
    make.graph.set_inputs([now])
    for channels, stride in ((8, 2), (8, 2), (24, 1), (24, 1), (24, 1), (24, 1)):
        now = make.conv(now, kernel=3, channels=channels, stride=stride)
    make.graph.set_outputs([make.head(now)])
    return lower(make.graph)


def test_a_cut_saves_where_rings_are_many() -> None:
    program = funnel()
    plain = place(buffers(program, simulate(program), frozenset())).bytes
    names = [joint.store for joint in find_joints(program)]
    attempts = []
    for count in range(len(names) + 1):
        for whole in combinations(names, count):
            schedule = simulate(program, whole)
            attempts.append(place(buffers(program, schedule, frozenset(whole))).bytes)
    best = min(attempts)
    assert best < plain
    assert choose_cuts(program)[1].bytes <= 1.05 * best


def test_smaller_tiles_where_they_save() -> None:
    program = funnel()
    before = [step.tiles for step in program.steps]
    schedule = simulate(program)
    plan = place(buffers(program, schedule, frozenset()))
    shrunk = shrink_tiles(program, schedule, frozenset(), True, plan)
    assert shrunk.bytes < 0.99 * plan.bytes
    assert [step.tiles for step in program.steps] != before
    for step, tiles in zip(program.steps, before, strict=True):
        assert step.tiles == tiles[len(tiles) - len(step.tiles) :]
        assert step.scratch == (step.tiles[0][1] if step.tiles else 0)
    Replay(program, schedule, shrunk).run()
