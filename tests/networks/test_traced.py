"""Tracing a network, and how often an unchanged one is: once a size, however much is planned with it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import sapool
from sapool.base.budget import Budget
from sapool.base.records import ArenaRecord, PoolingPlan, SilentReporter
from sapool.networks.recorded import read_model
from sapool.networks.traced import InputSize, InputSizeError, as_input_size, evaluating, run_once, trace
from sapool.networks.tracer import ShapeDecisionError, Trace, UntraceableModelError, trace_graph
from sapool.predict.profile import profile_memory, profile_savings
from sapool.predict.search import first_fitting_plan, replan
from sapool.workflows.fit import FitConfig
from sapool.workflows.fit.ways import plain_way
from sapool.workflows.fit.work import Work


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x
        return self.conv(x)


def test_input_sizes_are_an_int_or_a_triple() -> None:
    assert as_input_size(64) == (3, 64, 64)
    assert as_input_size((1, 20, 30)) == (1, 20, 30)
    for wrong in ((1, 2), 0, (3, 0, 4)):
        with pytest.raises(ValueError, match="input_size must be an int or"):
            as_input_size(wrong)  # type: ignore[arg-type]


def test_shapes_are_those_of_a_run() -> None:
    model = nn.Sequential(nn.Conv2d(3, 5, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(7))
    model(torch.zeros(1, 3, 9, 12))
    shapes = trace(model, (3, 9, 12)).shapes
    assert list(shapes.values()) == [(1, 3, 9, 12), (1, 5, 5, 6), (1, 5, 5, 6), (1, 150), (1, 7), (1, 7)]


def test_tracing_changes_neither_modes_nor_statistics() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    model[2].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trace(model, 8)
    assert [m.training for m in model] == [True, True, False]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_modes_come_back_after_an_error() -> None:
    model = nn.Dropout()
    with pytest.raises(RuntimeError, match="boom"), evaluating(model):
        raise RuntimeError("boom")
    assert model.training


def test_a_branch_on_values_is_named_by_its_line() -> None:
    with pytest.raises(UntraceableModelError) as caught:
        trace(Branching(), 8)
    assert re.search(r"test_traced\.py:\d+ \(if x\.sum\(\) > 0:\)", str(caught.value))


def test_a_size_the_model_cannot_take_names_the_place() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 7))
    with pytest.raises(InputSizeError, match=r"can't take an input of \(3, 6, 6\).*: 1 fails with"):
        trace(model, 6)
    with pytest.raises(InputSizeError, match="0 fails with"):
        trace(model, (1, 20, 20))


def test_something_that_is_no_module_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model must be a torch\.nn\.Module, got function"):
        trace(lambda x: x, 8)  # type: ignore[arg-type]


class ByShape(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if x.shape[-1] < 16 or x.device.type == "meta":
            return x
        return x[:, :, ::2, ::2]


def test_a_branch_on_shapes_is_decided_and_checked() -> None:
    traced = trace(ByShape(), 32)
    assert traced.module(torch.rand(2, 3, 40, 40)).shape == (2, 3, 20, 20)
    with pytest.raises(ShapeDecisionError, match=r"x\.shape\[-1\] < 16"):
        traced.module(torch.rand(2, 3, 8, 8))
    assert trace(ByShape(), 8).module(torch.rand(2, 3, 8, 8)).shape == (2, 3, 8, 8)


Traces = Counter[tuple[bool, int]]


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> Traces:
    """Count traces by (whether the network has planned pools, side of the image)."""
    counted: Traces = Counter()
    real = trace_graph

    def count(model: nn.Module, example: Tensor, whole: Collection[str] = ()) -> Trace:
        counted[any(name.startswith("pools") for name, _ in model.named_modules()), example.shape[-1]] += 1
        return real(model, example, whole)

    monkeypatch.setattr("sapool.networks.traced.trace_graph", count)
    return counted


def made_up_arena() -> ArenaRecord:
    return ArenaRecord(100, 0, 100, 10, ("ADD",), "made up")


def over_budget(model: nn.Module, plan: PoolingPlan) -> ArenaRecord:
    return made_up_arena()


def test_a_ladder_of_four_rungs_is_planned_from_one_trace(traces: Traces) -> None:
    model = sapool.load_model("sapool:tiny", 10)
    tried = first_fitting_plan(model, 64, "avg", budget=Budget(ram_bytes=10), measure=over_budget)
    assert len(tried) == 4
    assert traces == {(False, 64): 1}


def test_each_step_alone_traces_once(traces: Traces) -> None:
    model = sapool.load_model("sapool:tiny", 10)
    plan = sapool.make_plan(model, 48, "avg", [4, 2, 2, 1])
    steps: list[Callable[[], object]] = [
        lambda: sapool.find_downsampling(model, 48),
        lambda: sapool.apply_plan(model, plan),
        lambda: sapool.apply_plan(model, plan, dry_run=True),
        lambda: replan(model, plan),
        lambda: profile_memory(model, 48),
        lambda: sapool.search_plans(model, 48, ram_bytes=30_000, pools=["avg"], input_sizes=[48], second_looks=1),
    ]
    for step in steps:
        traces.clear()
        step()
        assert traces == {(False, 48): 1}


def test_a_trace_handed_along_serves_all_steps_at_every_size(traces: Traces) -> None:
    model = read_model(sapool.load_model("sapool:tiny", 10), 64)
    first_fitting_plan(model, 64, "avg", budget=Budget(ram_bytes=10), measure=over_budget)
    found = sapool.search_plans(model, 64, ram_bytes=10**6, pools=["avg", "strided"], input_sizes=[48])
    for candidate in found.candidates[:3]:
        replan(model, candidate.plan)
    planned = replan(model, sapool.make_plan(model, 48, "avg", [4, 2, 2, 1]))
    profile_memory(model, 48)
    assert traces == {(False, 64): 1, (False, 48): 1}
    savings = profile_savings([("", model, 64), ("input size", model, 48), ("down-sampling", planned, 48)])
    assert len(savings) == 5
    assert traces == {(False, 64): 1, (False, 48): 1}  # a planned network has its graph already


def test_fit_plans_every_pooling_of_a_size_from_one_trace(
    traces: Traces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(FitConfig(data="digits", ram_bytes=10), tmp_path, SilentReporter(), {})
    monkeypatch.setattr("sapool.workflows.fit.work.measure_untrained", lambda *_: made_up_arena())
    before = {name: value.clone() for name, value in work.traced(64).model.state_dict().items()}
    for pool in ("avg", "strided"):
        for size in (64, 48):
            assert len(work.plan(plain_way(pool, size, 64))) == 4
    own = work.planned(sapool.make_plan(work.traced(64), 64, "strided"))
    assert traces == {(False, 64): 1, (False, 48): 1}
    with torch.no_grad():  # a way is trained in a copy
        next(own.parameters()).add_(1)
    assert all(torch.equal(before[name], value) for name, value in work.traced(64).model.state_dict().items())


def test_a_copied_trace_is_planned_without_touching_the_network() -> None:
    original = trace(sapool.load_model("timm:resnet10t", 10).eval(), 64)
    copied = original.copied()
    assert [node.name for node in copied.module.graph.nodes] == [node.name for node in original.module.graph.nodes]
    assert copied.shapes == original.shapes
    ours, theirs = copied.module.get_submodule("conv1.0"), original.module.get_submodule("conv1.0")
    assert ours is copied.model.get_submodule("conv1.0") is not theirs
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(copied.module(image), original.model(image))
    assert original.copied(share_modules=True).module.get_submodule("conv1.0") is theirs


class NeedsValues(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.block(x if float(x.detach().sum()) > 0 else -x)


@pytest.mark.filterwarnings("ignore::sapool.networks.traced.FallbackWarning")
def test_a_network_that_can_only_be_recorded_is_so_once(traces: Traces, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[InputSize] = []

    def count(model: nn.Module, size: InputSize) -> object:
        runs.append(size)
        return run_once(model, size)

    monkeypatch.setattr("sapool.networks.recorded.run_once", count)
    model = read_model(NeedsValues(), 32)
    plan = sapool.make_plan(model, 32, "avg")
    planned = sapool.apply_plan(model, plan).model
    assert sum(traces.values()) == len(runs) == 1
    assert planned(torch.rand(1, 3, 32, 32)).shape == (1, 4, 8, 8)
    assert not any("planned_pool" in name for name, _ in model.model.named_modules())
    with pytest.raises(UntraceableModelError, match="can't trace NeedsValues"):
        profile_memory(model, 32)
    assert sum(traces.values()) == 1


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_a_scripted_network_is_refused_in_one_line() -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU()))
    steps: list[Callable[[], object]] = [
        lambda: sapool.find_downsampling(scripted, 32),
        lambda: sapool.make_plan(scripted, 32),
        lambda: profile_memory(scripted, 32),
    ]
    for step in steps:
        with pytest.raises(ValueError, match=r"^Sequential is scripted, .*: give the network as it was before"):
            step()
