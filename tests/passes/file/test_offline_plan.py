from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sapool.export import check_parity, export_int8
from sapool.export.runtime.inputs import random_inputs
from sapool.export.runtime.interpreters import run_model
from sapool.memory import arena_graph_of, profile_tflite
from sapool.passes.file.offline_plan import drop_plan, plan_offline, write_plan
from sapool.tflite.file import pack, parse
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
    model = parse(data)
    assert plan_offline(model) == 4
    planned = pack(model)
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
    model = parse(data)
    assert plan_offline(model) > 0
    out.write_bytes(pack(model))
    inputs = random_inputs(data, 4)
    before, after = run_model("greedy", data, inputs), run_model("planned", out.read_bytes(), inputs)
    assert after.head_bytes == profile_tflite(out).head_bytes < before.head_bytes
    assert after.same_outputs(before)
    assert check_parity(out, images()).max_steps == check_parity(path, images()).max_steps


def test_a_plan_that_is_no_better_is_not_written() -> None:
    model = parse(attention())
    plan_offline(model)
    first = pack(model)
    assert plan_offline(model) == 0
    assert pack(model) == first


def test_without_sharing_the_greedy_plan_is_the_best_here() -> None:
    model = parse(attention())
    assert plan_offline(model, sharing=False) == 0


def test_a_bad_plan_is_replaced() -> None:
    model = parse(attention())
    write_plan(model, [4096, -1, -1, -1])
    assert plan_offline(model) == 4
    assert len(model.metadata) == 1
    assert max(arena_graph_of(model).offline) < 4096


def test_other_metadata_stays() -> None:
    model = parse(attention())
    write_plan(model, [0, -1, -1, -1])
    model.metadata[0].name = b"somebody's"
    plan_offline(model)
    assert [entry.name for entry in model.metadata] == [b"somebody's", b"OfflineMemoryAllocation"]
    assert drop_plan(model)
    assert not drop_plan(model)
    assert [entry.name for entry in model.metadata] == [b"somebody's"]


def test_the_format_is_the_runtimes() -> None:
    model = parse(attention())
    write_plan(model, [16, -1, 0, 32])
    data = model.buffers[model.metadata[0].buffer].data
    np.testing.assert_array_equal(np.asarray(data).view("<i4"), [1, 0, 4, 16, -1, 0, 32])


@pytest.mark.parametrize("name", control_flow())
def test_a_model_with_control_flow_is_left_alone(name: str) -> None:
    model = parse(build(*control_flow()[name]))
    before = pack(model)
    assert plan_offline(model) == 0
    assert pack(model) == before
