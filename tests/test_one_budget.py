"""One model that needs more room to be planned than to run, judged by everything that judges: always the same way."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import sapool
from sapool.base.budget import Budget
from sapool.base.records import ArenaRecord, PoolingPlan, SilentReporter
from sapool.predict.search import first_fitting_plan, search_plans
from sapool.report.detectors import row_of
from sapool.training import TrainConfig
from sapool.workflows.compare.config import CompareConfig, Variant
from sapool.workflows.compare.planning import Planned, plan_variant
from sapool.workflows.running import Task, write_record
from tests.cli.commands import run
from tests.memory.handmade import Graph, Op, build
from tests.memory.handmade import Tensor as Data

SIZE = 16


class Deep(nn.Module):
    """Thirty small convolutions: the planner's lists are longer than the maps are large."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.rest = nn.Sequential(*(layer for _ in range(30) for layer in (nn.Conv2d(8, 8, 1), nn.ReLU())))
        self.last = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.rest(self.stem(x).relu()).mean((2, 3)))


def deep() -> nn.Module:
    torch.manual_seed(0)
    return Deep().eval()


def searched(budget: Budget) -> bool:
    found = search_plans(deep(), SIZE, budget=budget, pools=("strided",), strides=[(2,)])
    assert (found.best is not None) == found.candidates[0].fits
    return found.candidates[0].fits


def pruned(budget: Budget) -> bool:
    """Whether there is nothing to prune."""
    record = sapool.prune_channels(deep(), SIZE, ram_bytes=budget.ram_bytes, round_to=1).record
    assert record.after.arena_bytes is not None
    assert budget.ram_bytes is not None
    assert record.after.arena_bytes <= budget.ram_bytes
    return record.layers == ()


def laddered(arena: ArenaRecord, budget: Budget) -> bool:
    return first_fitting_plan(deep(), SIZE, "strided", budget=budget, measure=lambda *_: arena)[-1].fits


def compared(arena: ArenaRecord, budget: Budget) -> Planned:
    config = CompareConfig(input_size=SIZE, ram_bytes=budget.ram_bytes, strides=(2,), pools=("strided",))
    return plan_variant(deep(), Variant("strided", "strided"), config, lambda *_: arena, SilentReporter())


def recorded(arena: ArenaRecord, budget: Budget, folder: Path) -> bool:
    plan = sapool.make_plan(deep(), SIZE, "strided")
    task = Task("strided", plan, TrainConfig(epochs=1), budget, {}, {}, "strided")
    record = write_record(task, deep(), {"fits": budget.fits(arena), "arena": arena}, folder)
    assert record.arena_bytes == arena.arena_bytes
    assert budget.fits(record) == record.fits
    assert json.loads((folder / "record.json").read_text())["arena_bytes"] == arena.arena_bytes
    return record.fits


def detected(arena: ArenaRecord, budget: Budget) -> bool:
    plan = json.loads(sapool.make_plan(deep(), SIZE, "strided").to_json())
    sizes = {"arena_bytes": arena.arena_bytes, "total_bytes": arena.total_bytes}
    done = {"ap": 0.5, "ap50": 0.5, "parameters": 1, "reason": None, **sizes}
    return row_of("strided", {"plan strided": {"plan": plan, **sizes}, "run strided 0": done}, 1, budget).fits


@pytest.fixture(scope="module")
def predicted() -> int:
    profile = sapool.profile_memory(deep(), SIZE)
    assert profile.setup_bytes > profile.head_bytes
    assert profile.arena_bytes == profile.tail_bytes + profile.setup_bytes
    return profile.arena_bytes


@pytest.mark.parametrize("judge", [searched, pruned], ids=lambda judge: judge.__name__)
def test_predictions_fit_to_the_byte_of_the_arena(judge: Callable[[Budget], bool], predicted: int) -> None:
    assert judge(Budget(predicted))
    assert not judge(Budget(predicted - 1))


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> ArenaRecord:
    path = tmp_path_factory.mktemp("deep") / "deep.tflite"
    sapool.export_int8(deep(), [torch.randn(4, 3, SIZE, SIZE)], path)
    return sapool.measure_arena(path)


@pytest.mark.slow
def test_measurements_fit_at_the_same_byte_as_predictions(arena: ArenaRecord, predicted: int, tmp_path: Path) -> None:
    assert arena.arena_bytes == predicted
    assert arena.total_bytes < arena.arena_bytes
    judges: list[Callable[[Budget], bool]] = [
        partial(laddered, arena),
        partial(detected, arena),
        partial(recorded, arena, folder=tmp_path),
        lambda budget: arena.fits(budget.ram_bytes or 0),
        lambda budget: bool(compared(arena, budget).candidates),
    ]
    for judge in judges:
        assert judge(Budget(arena.arena_bytes))
        assert not judge(Budget(arena.arena_bytes - 1))
    need, budget = arena.arena_bytes, arena.arena_bytes - 1
    # The figure that is judged is the figure that is said, in the reason and beside the plan that was tried.
    refused = compared(arena, Budget(budget))
    assert f"no plan fits {budget:,} bytes of RAM" in refused.reason
    assert f"needs {need:,} bytes (predicted), 1 over" in refused.reason
    (tried,) = compared(arena, Budget(need)).tried
    assert (tried["arena_bytes"], tried["total_bytes"]) == (need, arena.total_bytes)


def chain(length: int) -> bytes:
    tensors = [Data((1, 4)) for _ in range(length + 1)]
    return build(Graph(tensors, [Op("RELU", [i], [i + 1]) for i in range(length)], [0], [length]))


def test_measure_prints_the_figure_that_it_judges(tmp_path: Path) -> None:
    path = tmp_path / "chain.tflite"
    path.write_bytes(chain(100))
    measured = sapool.measure_arena(path)
    need = measured.arena_bytes
    assert measured.total_bytes < need - 1  # by head and tail alone it would fit both budgets
    for budget, code, said in ((need, 0, "fits"), (need - 1, 3, "does not fit")):
        assert measured.fits(budget) == (code == 0)
        done = run("measure", str(path), "--ram", str(budget))
        assert done.returncode == code, done.stderr
        line = done.stdout.splitlines()[-1]
        assert line == f"an arena of {need:,} bytes {said} {budget:,} bytes of RAM"
        assert f"{need:,} bytes" in next(row for row in done.stdout.splitlines() if "arena  " in row)
    held = json.loads(run("measure", str(path), "--json").stdout)
    assert (held["arena_bytes"], held["total_bytes"]) == (need, measured.total_bytes)
    profiled = json.loads(run("profile", str(path), "--json").stdout)["profile"]
    assert profiled["arena_bytes"] == need


@pytest.mark.parametrize("size", ["1" + "0" * 80, "9" * 5000, "0", "10^80"])
@pytest.mark.parametrize("command", [["measure", "none.tflite"], ["plan", "sapool:tiny"], ["fit"]])
def test_absurd_budgets_are_one_line_and_exit_2(command: list[str], size: str, tmp_path: Path) -> None:
    done = run(*command, "--ram", size, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")
    assert "not a size" in done.stderr
    assert len(done.stderr) < 250
    assert not list(tmp_path.iterdir())


def test_a_plan_without_a_ram_budget_is_unlimited() -> None:
    found = search_plans(deep(), SIZE, pools=("strided",), strides=[(2,)])
    assert found.best is not None
    assert (found.ram_bytes, found.flash_bytes, found.macs) == (None, None, None)
    over = search_plans(deep(), SIZE, macs=1, pools=("strided",), strides=[(2,)])
    assert over.best is None
    assert isinstance(over.candidates[0].plan, PoolingPlan)
    with pytest.raises(ValueError, match="instructions and latency are not predicted"):
        search_plans(deep(), SIZE, budget=Budget(instructions=5))
