from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sapool.export import InterpreterError, measure_arena, run_interpreter
from sapool.export.runtime import interpreters
from sapool.export.runtime.inputs import inputs_of, output_names, random_inputs
from sapool.export.runtime.interpreters import Outcome, run_model
from sapool.tflite.file import TfliteError, pack, parse, schema
from tests.memory.handmade import Graph, Op, Tensor, build

ADD: tuple[str, dict[str, int]] = ("AddOptions", {})


def sums() -> bytes:
    """Two inputs of different shapes and two outputs: the sum, and its half."""
    tensors = [
        Tensor((1, 4, 4, 8), scales=(0.5,)),
        Tensor((1, 1, 1, 8), scales=(0.25,)),
        Tensor((1, 4, 4, 8), scales=(1.0,)),
        Tensor((1, 4, 4, 8), scales=(2.0,)),
    ]
    return build(Graph(tensors, [Op("ADD", [0, 1], [2], ADD), Op("QUANTIZE", [2], [3])], [0, 1], [2, 3]))


def test_every_input_is_fed_and_every_output_is_read() -> None:
    big = np.arange(-128, 128, dtype=np.int8).reshape(2, 1, 4, 4, 8)
    small = np.full((2, 1, 1, 1, 8), 40, np.int8)
    total, half = run_model("sums", sums(), (big, small)).outputs
    assert total.shape == half.shape == (2, 1, 4, 4, 8)
    expected = big * 0.5 + 10
    np.testing.assert_allclose(total, expected, atol=0.5)
    np.testing.assert_allclose(2.0 * half, total, atol=1.0)


def test_the_arena_is_what_the_other_runner_measures(exported: Path) -> None:
    data = exported.read_bytes()
    inputs = random_inputs(data, 3)
    outcome, arena = run_model("exported", data, inputs), measure_arena(exported)
    sizes = (outcome.head_bytes, outcome.tail_bytes, outcome.total_bytes)
    assert sizes == (arena.head_bytes, arena.tail_bytes, arena.total_bytes)
    np.testing.assert_array_equal(outcome.outputs[0][:, 0], run_interpreter("tflm", exported, inputs[0][:, 0]))


def test_noise_has_each_inputs_shape_type_and_range() -> None:
    types = ("int8", "int16", "int32", "float32")
    tensors = [Tensor((1, 64), dtype) for dtype in types]
    data = build(Graph([*tensors, Tensor((1, 64))], [Op("RELU", [0], [4])], range(4), [4]))
    made = random_inputs(data, 50)
    assert [(a.shape, a.dtype.name) for a in made] == [((50, 1, 64), dtype) for dtype in types]
    assert (made[0].min(), made[0].max()) == (-128, 127)
    assert (made[2].min(), made[2].max()) == (0, 1)
    assert [info.dtype for info in inputs_of(data)] == list(types)
    np.testing.assert_array_equal(made[0], random_inputs(data, 50)[0])


def test_outputs_are_compared_bit_by_bit() -> None:
    data = sums()
    inputs = random_inputs(data, 2)
    one = run_model("sums", data, inputs)
    other = run_model("sums", data, (inputs[0], inputs[1] ^ np.int8(16)))
    assert one.same_outputs(run_model("sums", data, inputs))
    assert not one.same_outputs(other)


def test_what_cannot_be_run_is_refused_in_one_line() -> None:
    model = parse(sums())
    fb = schema()
    code = model.operatorCodes[0]
    code.builtinCode = code.deprecatedBuiltinCode = fb.BuiltinOperator.MATRIX_SET_DIAG
    with pytest.raises(InterpreterError, match=r"mine: TensorFlow Lite Micro .*MATRIX_SET_DIAG"):
        run_model("mine", pack(model), random_inputs(sums(), 1))


def test_outputs_have_names_and_each_its_own() -> None:
    data = sums()
    outcome = run_model("sums", data, random_inputs(data, 2))
    assert outcome.names == output_names(data) == ("t2", "t3")
    np.testing.assert_array_equal(outcome.by_name()["t3"], outcome.outputs[1])
    model = parse(data)
    for place, name in ((2, b"same"), (3, b"same")):
        model.subgraphs[0].tensors[place].name = name
    assert output_names(pack(model)) == ("same", "same;1")
    model.subgraphs[0].tensors[2].name = None
    assert output_names(pack(model)) == ("output;0", "same")


@pytest.mark.parametrize("engine", ["tflm", "litert"])
def test_a_first_side_need_not_be_a_batch(engine: str) -> None:
    """A spectrogram of 49 rows is one input, not 49."""
    tensors = [Tensor((49, 40), scales=(0.5,)), Tensor((49, 40), scales=(0.5,))]
    data = build(Graph(tensors, [Op("RELU", [0], [1])], [0], [1]))
    inputs = random_inputs(data, 3)
    (made,) = run_model("rows", data, inputs, "tflm" if engine == "tflm" else "litert").outputs
    np.testing.assert_array_equal(made, np.maximum(inputs[0], 0))


@pytest.mark.parametrize("engine", ["tflm", "litert"])
def test_scalars_and_truth_values_come_and_go(engine: str) -> None:
    one, truth = Tensor((), "float32"), Tensor((1, 4), "bool")
    ops = [Op("ADD", [0, 0], [1], ("AddOptions", {})), Op("LOGICAL_NOT", [2], [3])]
    data = build(Graph([one, one, truth, truth], ops, [0, 2], [1, 3]))
    inputs = random_inputs(data, 4)
    assert [values.dtype.name for values in inputs] == ["float32", "bool"]
    double, other = run_model("mixed", data, inputs, "tflm" if engine == "tflm" else "litert").outputs
    np.testing.assert_allclose(double.reshape(4), 2 * inputs[0])
    np.testing.assert_array_equal(other, ~inputs[1])


def test_a_model_without_inputs_runs_once() -> None:
    tensors = [Tensor((1, 4), data=np.array([[-4, -1, 2, 3]], np.int8)), Tensor((1, 4))]
    data = build(Graph(tensors, [Op("RELU", [0], [1])], [], [1]))
    assert random_inputs(data, 5) == ()
    (made,) = run_model("fixed", data, ()).outputs
    assert made.tolist() == [[[0, 0, 2, 3]]]


def test_any_number_of_inputs_and_outputs_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "sums.tflite"
    path.write_bytes(sums())
    assert measure_arena(path).head_bytes == 2 * 128 + 16
    with pytest.raises(TfliteError, match=r"sums\.tflite: one input expected, it has 2"):
        run_interpreter("tflm", path, np.zeros((1, 4, 4, 8), np.int8))
    with pytest.raises(TfliteError, match=r"sums: it takes \(1, 4, 4, 8\) of int8, \(1, 1, 1, 8\) of int8, got"):
        run_model("sums", sums(), [np.zeros((1, 4), np.int8)])


@pytest.mark.parametrize(("loaded", "timed_out"), [(True, False), (False, False), (True, True)])
def test_inputs_that_break_a_model_are_not_held_against_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: bool, timed_out: bool
) -> None:
    """Zeros as a divisor, say: noise is tried too, unless the model itself was refused or took too long."""
    path = tmp_path / "sums.tflite"
    path.write_bytes(sums())

    def picky(name: str, data: bytes, inputs: Sequence[NDArray[Any]], **keywords: Any) -> Outcome:
        if not any(values.any() for values in inputs):
            raise InterpreterError(f"{name}: a zero", loaded=loaded, timed_out=timed_out)
        return run_model(name, data, inputs, **keywords)

    monkeypatch.setattr(interpreters, "run_model", picky)
    if loaded and not timed_out:
        assert measure_arena(path).head_bytes == 2 * 128 + 16
    else:
        with pytest.raises(InterpreterError, match=r"sums\.tflite: a zero"):
            measure_arena(path)
