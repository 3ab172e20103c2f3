from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sapool.export import InterpreterError
from sapool.export.optimize import EXACT_PASSES, Arena, optimize_tflite
from sapool.export.runtime.inputs import random_inputs
from sapool.export.runtime.interpreters import run_model
from sapool.passes import choose_passes
from sapool.tflite import Constant, Graph, Options, TfliteError, read_graph, write_graph
from sapool.tflite.file import schema
from tests.export.runtime.test_inputs import sums
from tests.passes.file.test_fold_pads import FOLDED
from tests.passes.file.test_offline_plan import attention
from tests.tflite.test_file import externalize


def written(folder: Path, data: bytes) -> Path:
    path = folder / "theirs.tflite"
    path.write_bytes(data)
    return path


def test_a_file_becomes_leaner_and_computes_the_same(tmp_path: Path) -> None:
    data = attention()
    out = tmp_path / "ours.tflite"
    record = optimize_tflite(written(tmp_path, data), out)
    inputs = random_inputs(data, 6, seed=9)
    before, after = run_model("theirs", data, inputs), run_model("ours", out.read_bytes(), inputs)
    assert after.same_outputs(before)
    assert record.before == Arena(before.head_bytes, before.tail_bytes, before.total_bytes)
    assert record.after == Arena(after.head_bytes, after.tail_bytes, after.total_bytes)
    assert record.after.total_bytes < record.before.total_bytes
    assert [effect.name for effect in record.effects if effect.kept][-1] == "plan_offline"
    assert (record.flash_bytes_before, record.flash_bytes_after) == (len(data), out.stat().st_size)
    assert record.macs_before == record.macs_after == 2 * 32 * 32 * 4
    assert json.loads(json.dumps(record.to_dict()))["after"]["head_bytes"] == after.head_bytes


def test_each_pass_reports_what_it_saved(tmp_path: Path) -> None:
    out = tmp_path / "ours.tflite"
    record = optimize_tflite(written(tmp_path, FOLDED["symmetric, stride 2"]), out, passes="fold_pads")
    (effect,) = record.effects
    assert (effect.name, effect.places, effect.kept, effect.reason) == ("fold_pads", 1, True, "")
    assert (effect.before, effect.after) == (record.before, record.after)
    assert record.macs_after == record.macs_before * 16 // 9
    assert set(read_graph(out.read_bytes()).kinds()) == {"CONV_2D"}


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    record = optimize_tflite(written(tmp_path, sums()), tmp_path / "ours.tflite", runs=2)
    assert record.after.total_bytes <= record.before.total_bytes
    assert record.compared_runs == 2


def _weights_of_one(graph: Graph) -> int:
    size = graph.tensors[3].bytes
    graph.change_tensor(3, constant=Constant(np.ones(size, np.uint8)))
    return 1


def _more_tensors(graph: Graph) -> int:
    for _ in range(8):
        graph.add_tensor(graph.tensors[0])
    return 8


def _no_such_operator(graph: Graph) -> int:
    graph.change_operator(0, kind="MATRIX_SET_DIAG", options=Options())
    return 1


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (_weights_of_one, "outputs would change"),
        (_more_tensors, "the arena would grow by"),
        (_no_such_operator, "the interpreter fails"),
    ],
)
def test_a_pass_that_does_harm_is_undone(
    harm: Any, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = FOLDED["symmetric, stride 2"]
    monkeypatch.setattr("sapool.export.optimize.EXACT_PASSES", {"harm": harm})
    out = tmp_path / "ours.tflite"
    record = optimize_tflite(written(tmp_path, data), out)
    (effect,) = record.effects
    assert not effect.kept
    assert effect.reason.startswith(reason)
    assert out.read_bytes() == data
    assert record.after == record.before


def test_constants_behind_the_flatbuffer_come_inline(tmp_path: Path) -> None:
    data = externalize(FOLDED["symmetric, stride 2"])
    out = tmp_path / "ours.tflite"
    record = optimize_tflite(written(tmp_path, data), out, passes="none")
    assert record.inlined == 3
    raw = schema().Model.GetRootAsModel(out.read_bytes(), 0)
    assert not any(raw.Buffers(place).Offset() for place in range(raw.BuffersLength()))


def test_a_bad_plan_is_replaced_and_a_good_one_stays(tmp_path: Path) -> None:
    model = read_graph(attention())
    model.set_offline([8192, -1, -1, -1])
    out = tmp_path / "ours.tflite"
    record = optimize_tflite(written(tmp_path, write_graph(model)), out)
    assert record.before.head_bytes > 8192 > record.after.head_bytes
    assert max(read_graph(out).offline) < 8192
    again = optimize_tflite(out, tmp_path / "again.tflite")
    assert again.after == again.before == record.after
    assert (tmp_path / "again.tflite").read_bytes() == out.read_bytes()
    assert not any(effect.kept for effect in again.effects)


def test_a_file_may_be_written_over(tmp_path: Path) -> None:
    path = written(tmp_path, attention())
    record = optimize_tflite(path, path, passes="plan_offline")
    assert path.stat().st_size == record.flash_bytes_after
    assert optimize_tflite(path, path, passes="plan_offline").before == record.after


def test_mistakes_are_named_in_one_line(tmp_path: Path) -> None:
    path = written(tmp_path, attention())
    with pytest.raises(ValueError, match="unknown pass 'fold': choose from all, none, fold_pads, "):
        optimize_tflite(path, tmp_path / "o.tflite", passes="fold")
    with pytest.raises(ValueError, match="runs must be at least 1, got 0"):
        optimize_tflite(path, tmp_path / "o.tflite", runs=0)
    with pytest.raises(ValueError, match="out must be a file in a folder that exists"):
        optimize_tflite(path, tmp_path)
    with pytest.raises(TfliteError, match="no such file"):
        optimize_tflite(tmp_path / "x.tflite", tmp_path / "o.tflite")
    model = read_graph(attention())
    _no_such_operator(model)
    with pytest.raises(InterpreterError, match=r"theirs\.tflite: TensorFlow Lite Micro refuses it.*MATRIX_SET_DIAG"):
        optimize_tflite(written(tmp_path, write_graph(model)), tmp_path / "o.tflite")
    assert not (tmp_path / "o.tflite").exists()


def test_passes_are_chosen_by_name_and_kept_in_order() -> None:
    assert choose_passes("all", tuple(EXACT_PASSES)) == tuple(EXACT_PASSES)
    assert choose_passes("all", tuple(EXACT_PASSES))[-1] == "plan_offline"
    assert "adjy_matmul" not in EXACT_PASSES
    assert choose_passes("none", tuple(EXACT_PASSES)) == ()
    wanted = ["fold_pads", "plan_offline"]
    assert choose_passes("plan_offline, fold_pads", tuple(EXACT_PASSES)) == choose_passes(wanted, tuple(EXACT_PASSES))


def test_random_inputs_differ_between_runs() -> None:
    (made,) = random_inputs(attention(), 4)
    assert not any(np.array_equal(made[0], other) for other in made[1:])
