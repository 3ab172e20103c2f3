from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from sapool.export import export_int8, measure_arena
from sapool.memory import MemoryProfile, arena_size, buffers_of, lower_bound, profile_graph, profile_tflite
from sapool.tflite import Graph, TfliteError, read_graph, write_graph
from tests.conftest import images, pooled_net
from tests.graphs import make_operator, make_tensor
from tests.memory.control_flow import control_flow
from tests.memory.handmade import build


class Everyday(nn.Module):
    """Pads, branches of two widths, a gate, a concatenation and a resize: what networks are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.narrow, self.wide = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 12, 3, padding=1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 16, 1), nn.Sigmoid())
        self.depthwise = nn.Conv2d(16, 16, 3, 2, 1, groups=16)
        self.pool, self.act = nn.MaxPool2d(3, 2, 1), nn.Hardswish()
        self.classifier = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.stem(x))
        x = torch.cat([self.narrow(x), self.wide(x)], 1)
        x = self.depthwise(x * self.gate(x)) + self.pool(x)
        x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.classifier(x.mean((2, 3)))


def assert_as_measured(path: Path) -> None:
    profile, arena = profile_tflite(path), measure_arena(path)
    assert (profile.head_bytes, profile.tail_bytes) == (arena.head_bytes, arena.tail_bytes)
    assert profile.total_bytes == arena.total_bytes
    assert arena_size(read_graph(path)) == arena.size


@pytest.mark.slow
def test_an_exported_network_takes_what_was_predicted(exported: Path) -> None:
    assert_as_measured(exported)


@pytest.mark.slow
@pytest.mark.parametrize("passes", ["all", "none"])
def test_networks_take_what_was_predicted_with_and_without_passes(tmp_path: Path, passes: str) -> None:
    torch.manual_seed(0)
    net = Everyday().eval() if passes == "all" else pooled_net(patch_size=1)
    path = tmp_path / "model.tflite"
    export_int8(net, [images(8)], path, passes=passes)
    assert_as_measured(path)


def test_a_profile_says_what_is_alive_where(exported: Path) -> None:
    profile = profile_tflite(exported)
    peak = profile.by_operator[profile.peak_operator]
    assert peak.live_bytes == max(op.live_bytes for op in profile.by_operator) == profile.lower_bound_bytes
    for i, operator in enumerate(profile.by_operator):
        assert operator.index == i
        assert operator.live_bytes <= sum(size for _, size in operator.live)
        assert 0 < operator.in_out_bytes <= operator.live_bytes - operator.scratch_bytes
    mean = next(op for op in profile.by_operator if op.kind == "MEAN")
    assert mean.scratch_bytes > 0
    assert ("scratch of MEAN", 16) in mean.live
    assert profile.unknown_operators == ()
    assert profile.lower_bound_bytes <= profile.head_bytes
    plain = profile_tflite(without_plan(exported))
    assert all(op.live_bytes == sum(size for _, size in op.live) for op in plain.by_operator)
    assert plain.lower_bound_bytes >= profile.lower_bound_bytes


def without_plan(path: Path) -> bytes:
    """The same file for the runtime's own planner."""
    graph = read_graph(path)
    graph.set_offline(None)
    return write_graph(graph)


def test_a_profile_survives_json(exported: Path) -> None:
    profile = profile_tflite(exported)
    assert MemoryProfile.from_json(profile.to_json()) == profile
    with pytest.raises(ValueError, match="not a memory profile"):
        MemoryProfile.from_json('{"head_bytes": 3}')
    with pytest.raises(ValueError, match="not a memory profile"):
        MemoryProfile.from_json("head")


def test_module_names_come_through() -> None:
    tensors = (make_tensor("x", (1, 4)), make_tensor("y", (1, 4)))
    graph = Graph(tensors, (make_operator("RELU", (0,), (1,), module="body.act"),), (0,), (1,))
    assert profile_graph(graph).by_operator[0].module == "body.act"


def test_where_other_graphs_run_the_worst_step_counts() -> None:
    graph = read_graph(build(*control_flow()["while"]))
    profile = profile_graph(graph)
    loop = profile.by_operator[1]
    assert loop.kind == "WHILE"
    assert profile.peak_operator == 1
    assert loop.live_bytes == lower_bound(buffers_of(graph))


def test_operators_that_are_not_known_are_named() -> None:
    tensors = (make_tensor("x", (1, 4)), make_tensor("y", (1, 4)))
    graph = Graph(tensors, (make_operator("SignalWindow", (0,), (1,)),), (0,), (1,))
    assert profile_graph(graph).unknown_operators == ("SignalWindow",)


def test_a_mistake_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(TfliteError, match=r"missing\.tflite: no such file"):
        profile_tflite(tmp_path / "missing.tflite")
