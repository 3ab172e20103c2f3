from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sapool.export import check_parity, export_int8
from sapool.export.runtime.inputs import random_inputs
from sapool.export.runtime.interpreters import run_model
from sapool.memory import profile_tflite
from sapool.passes.file.offline_plan import plan_offline
from sapool.tflite import read_graph, write_graph
from tests.conftest import images, pooled_net
from tests.memory.control_flow import control_flow
from tests.memory.handmade import Graph, Op, Tensor, build


def attention() -> bytes:
    """32 queries: scores with the transpose of what is read, their soft-max, and the product with it."""
    tensors = [
        Tensor((1, 32, 4)),
        Tensor((1, 32, 32), scales=(2.0,)),
        Tensor((1, 32, 32), scales=(1 / 256,), zero=-128),
        Tensor((1, 32, 4), scales=(0.3,)),
    ]
    ops = [
        Op("BATCH_MATMUL", [0, 0], [1], ("BatchMatMulOptions", {"adjX": False, "adjY": True})),
        Op("SOFTMAX", [1], [2], ("SoftmaxOptions", {"beta": 1.0})),
        Op("BATCH_MATMUL", [2, 0], [3], ("BatchMatMulOptions", {"adjX": False, "adjY": False})),
    ]
    return build(Graph(tensors, ops, [0], [3]))


def test_the_interpreter_takes_the_plan_and_computes_the_same() -> None:
    data = attention()
    model = read_graph(data)
    assert plan_offline(model) == 4
    planned = write_graph(model)
    inputs = random_inputs(data, 4)
    before, after = run_model("before", data, inputs), run_model("after", planned, inputs)
    assert before.head_bytes == profile_tflite(data).head_bytes >= 128 + 2 * 1024
    assert after.head_bytes == profile_tflite(planned).head_bytes < 128 + 2 * 1024
    assert after.tail_bytes == before.tail_bytes
    assert after.same_outputs(before)


@pytest.mark.slow
def test_an_exported_network_needs_less_and_agrees_with_litert(tmp_path: Path) -> None:
    """Scores at 64 tokens, and their soft-max, are the largest maps."""
    path, out = tmp_path / "greedy.tflite", tmp_path / "planned.tflite"
    export_int8(pooled_net(patch_size=1, window_norm=True, max_keys=64), [images()], path, passes="none")
    data = path.read_bytes()
    model = read_graph(data)
    assert plan_offline(model) > 0
    out.write_bytes(write_graph(model))
    inputs = random_inputs(data, 4)
    before, after = run_model("greedy", data, inputs), run_model("planned", out.read_bytes(), inputs)
    assert after.head_bytes == profile_tflite(out).head_bytes < before.head_bytes
    assert after.same_outputs(before)
    assert check_parity(out, images()).max_steps == check_parity(path, images()).max_steps


def test_a_plan_that_is_no_better_is_not_written() -> None:
    model = read_graph(attention())
    plan_offline(model)
    first = write_graph(model)
    assert plan_offline(model) == 0
    assert write_graph(model) == first


def test_without_sharing_the_greedy_plan_is_the_best_here() -> None:
    model = read_graph(attention())
    assert plan_offline(model, sharing=False) == 0


def test_a_bad_plan_is_replaced() -> None:
    model = read_graph(attention())
    model.set_offline([4096, -1, -1, -1])
    assert plan_offline(model) == 4
    assert len(model.metadata) == 1
    assert max(model.offline) < 4096


def test_other_metadata_stays() -> None:
    model = read_graph(attention())
    model.metadata["somebody's"] = b"own"
    plan_offline(model)
    again = read_graph(write_graph(model))
    assert list(again.metadata) == ["somebody's", "OfflineMemoryAllocation"]
    again.set_offline(None)
    assert read_graph(write_graph(again)).metadata == {"somebody's": b"own"}


def test_the_format_is_the_runtimes() -> None:
    model = read_graph(attention())
    model.set_offline([16, -1, 0, 32])
    data = np.frombuffer(model.metadata["OfflineMemoryAllocation"], "<i4")
    np.testing.assert_array_equal(data, [1, 0, 4, 16, -1, 0, 32])
    assert model.offline == (16, -1, 0, 32)


@pytest.mark.parametrize("name", control_flow())
def test_a_model_with_control_flow_is_left_alone(name: str) -> None:
    model = read_graph(build(*control_flow()[name]))
    before = write_graph(model)
    assert plan_offline(model) == 0
    assert write_graph(model) == before
