from __future__ import annotations

from pathlib import Path

import pytest

from sapool.memory import profile_tflite
from tests.memory.allocations import Arena, allocations
from tests.memory.control_flow import control_flow
from tests.memory.handmade import Graph, Op, Tensor, build
from tests.memory.single_operators import everything

MODELS = {name: build(graph) for name, graph in everything().items()}
MODELS |= {name: build(*graphs) for name, graphs in control_flow().items()}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Arena | None]:
    return allocations(MODELS, tmp_path_factory.mktemp("operators"))


@pytest.mark.slow
def test_head_and_tail_of_every_operator_are_the_interpreters(measured: dict[str, Arena | None]) -> None:
    wrong = {}
    for name, arena in measured.items():
        profile = profile_tflite(MODELS[name])
        predicted = Arena(profile.head_bytes, profile.tail_bytes)
        if arena is not None and arena != predicted:
            wrong[name] = (arena, predicted)
    assert wrong == {}


@pytest.mark.slow
def test_most_operators_were_run_and_none_is_unknown(measured: dict[str, Arena | None]) -> None:
    ran = {name for name, arena in measured.items() if arena is not None}
    kinds = {kind for name in ran for kind in {op.kind for op in profile_tflite(MODELS[name]).by_operator}}
    assert len(ran) >= 420
    assert len(kinds) >= 95
    assert {kind for name in ran for kind in profile_tflite(MODELS[name]).unknown_operators} == set()


@pytest.mark.slow
def test_an_arena_with_room_for_the_setup_is_enough(measured: dict[str, Arena | None], tmp_path: Path) -> None:
    run = {name: MODELS[name] for name, arena in measured.items() if arena is not None}
    profiles = {name: profile_tflite(data) for name, data in run.items()}
    enough = {name: p.tail_bytes + max(p.head_bytes, p.setup_bytes) for name, p in profiles.items()}
    assert [name for name, arena in allocations(run, tmp_path, enough).items() if arena is None] == []


@pytest.mark.slow
def test_head_and_tail_alone_are_too_little_for_many_small_tensors(tmp_path: Path) -> None:
    tensors = [Tensor((1, 4)) for _ in range(101)]
    chain = build(Graph(tensors, [Op("RELU", [i], [i + 1]) for i in range(100)], [0], [100]))
    profile = profile_tflite(chain)
    assert allocations({"chain": chain}, tmp_path, {"chain": profile.total_bytes})["chain"] is None
    needed = profile.tail_bytes + profile.setup_bytes
    assert allocations({"chain": chain}, tmp_path, {"chain": needed})["chain"] is not None
    assert allocations({"chain": chain}, tmp_path, {"chain": needed - needed // 20})["chain"] is None
